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
    if "slurm_here" in request.fixturenames and _wanted(request.session):
        request.getfixturevalue("survivors")


@pytest.fixture(scope="session")
def survivors(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Survivor]]:
    """One for each `kind` of interruption that a test of this session is about."""
    if reason := why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("survivors")
    begun = {kind: _begin(kind, folder / kind) for kind in _wanted(request.session)}
    yield begun
    for survivor in begun.values():
        survivor.process.send_signal(signal.SIGINT)  # it takes its Slurm down with it
        survivor.process.wait()


def _wanted(session: pytest.Session) -> list[str]:
    return [
        item.callspec.params["kind"]
        for item in session.items
        if isinstance(item, pytest.Function) and "survivors" in item.fixturenames
    ]


def _begin(kind: str, folder: Path) -> Survivor:
    module, _, settings = kind.partition("-")
    folder.mkdir()
    argv = ["nice", sys.executable, "-m", f"tests.runners.slurm.{module}"]
    with (folder / "log").open("wb") as output:
        process = subprocess.Popen(
            [*argv, str(folder), *settings.split("-")], stdout=output, stderr=output, cwd=ROOT
        )
    return Survivor(folder / "log", process)
