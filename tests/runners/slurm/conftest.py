"""The servers: a Slurm of this machine, and a remote login node with its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deepsynth.runners.slurm.runner import SlurmRunner
from deepsynth.runners.slurm.site import Allocation, Site, SiteEnvironment
from tests.servers.remote import RemoteHost
from tests.servers.slurm import why_not


@pytest.fixture
def here(slurm_here: Path, monkeypatch: pytest.MonkeyPatch) -> SlurmRunner:
    """A runner of the Slurm of this machine."""
    monkeypatch.setenv("SLURM_CONF", str(slurm_here))
    return SlurmRunner("here", Site(), lambda line: None)


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the sockets of shared connections go."""
    folder = Path(tempfile.mkdtemp(prefix="ds-"))  # the path of a socket must be short
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder
    for socket in folder.glob("*/*"):
        subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "any"], check=False)
    shutil.rmtree(folder)


OURS = {"this": SiteEnvironment(venv=sys.prefix)}


@pytest.fixture
def hpc(remote_host: RemoteHost, monkeypatch: pytest.MonkeyPatch) -> SlurmRunner:
    """A runner of the login node, where DeepSynth is installed."""
    monkeypatch.setenv("PATH", f"{remote_host.bin}:{os.environ['PATH']}")
    site = Site(
        host="hpc",
        partition="publicgpu",
        gres="gpu:1",
        constraint="gputc",
        cpu=Allocation(partition="cpu"),
        environments=OURS,
    )
    return SlurmRunner("hpc", site, lambda line: None)


PREEMPTIONS = [
    ("1", "30", "REQUEUE"),
    ("1", "0", "REQUEUE"),
    ("0", "0", "REQUEUE"),
    ("0", "3", "REQUEUE"),
    ("1", "0", "CANCEL"),
    ("0", "0", "CANCEL"),
    ("1", "30", "CANCEL"),
]
"""Kinds of site: whether users' signals are sent, seconds of grace, what preempting does."""


ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Survivor:
    """A training in a Slurm of its own that is interrupted; it goes on beside other tests."""

    log: Path
    process: subprocess.Popen[bytes]

    def check(self) -> None:
        """Wait until it ends, and see that all was as it should be."""
        assert self.process.wait(200) == 0, self.log.read_text()


@pytest.fixture(autouse=True)
def begin_early(request: pytest.FixtureRequest) -> None:
    """The survivors begin with the first test of a Slurm, if one asks for them later."""
    if "slurm_here" in request.fixturenames and any(
        "survivors" in getattr(item, "fixturenames", ()) for item in request.session.items
    ):
        request.getfixturevalue("survivors")


@pytest.fixture(scope="session")
def survivors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Survivor]]:
    """One for each kind of preemption, and last the time limits; none where no Slurm can run."""
    begun: list[Survivor] = []
    if why_not() is None:
        keys = ("SLURM_SIGNAL", "SLURM_GRACE", "SLURM_PREEMPT")
        begun = [
            _begin(
                "preemption",
                tmp_path_factory.mktemp("preempted"),
                dict(zip(keys, values, strict=True)),
            )
            for values in PREEMPTIONS
        ]
        begun.append(_begin("limits", tmp_path_factory.mktemp("limits"), {}))
    yield begun
    for survivor in begun:
        survivor.process.send_signal(signal.SIGINT)  # it takes its Slurm down with it
        survivor.process.wait()


def _begin(module: str, folder: Path, settings: dict[str, str]) -> Survivor:
    argv = ["nice", sys.executable, "-m", f"tests.runners.slurm.{module}", str(folder)]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, env=os.environ | settings, stdout=output, stderr=output, cwd=ROOT
        )
    return Survivor(log, process)
