"""The servers: a Slurm of this machine, and a remote login node with its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepsynth.runners.slurm import Site, SlurmRunner
from deepsynth.runners.slurm.site import Allocation, SiteEnvironment
from tests.servers.remote import RemoteHost, running_remote, why_no_remote
from tests.servers.slurm import running_slurm, why_not


@pytest.fixture(scope="session")
def slurm_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Slurm without accounting on this machine."""
    if reason := why_not():
        pytest.skip(reason)
    with running_slurm(tmp_path_factory.mktemp("slurm")) as conf:
        yield conf


@pytest.fixture
def here(slurm_here: Path, monkeypatch: pytest.MonkeyPatch) -> SlurmRunner:
    """A runner of the Slurm of this machine."""
    monkeypatch.setenv("SLURM_CONF", str(slurm_here))
    return SlurmRunner("here", Site(), lambda line: None)


@pytest.fixture(scope="session")
def remote_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteHost]:
    """A login node called `hpc`, of user alice."""
    if reason := why_no_remote():
        pytest.skip(reason)
    with running_remote(tmp_path_factory.mktemp("remote")) as host:
        yield host


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
