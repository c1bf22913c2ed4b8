"""The real servers, started when a test asks for one: once for each process that runs tests.

`tests/conftest.py` gives all tests of one of the slow ones to the same process.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deepsynth.families.htr.kraken.environment import setup_htr
from deepsynth.run.environments import managed_folder
from deepsynth.storage import stores
from tests.servers import hub, remote, s3, slurm
from tests.support.shared import made_once


@pytest.fixture(scope="session")
def hub_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hub.StandIn]:
    """The stand-in for the Hub, shared by tests that choose repositories of their own."""
    with hub.StandIn(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="session")
def slurm_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Slurm without accounting on this machine."""
    if reason := slurm.why_not():
        pytest.skip(reason)
    with slurm.running_slurm(tmp_path_factory.mktemp("slurm")) as conf:
        yield conf


@pytest.fixture(scope="session")
def remote_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[remote.RemoteHost]:
    """A login node called `hpc`, of user alice."""
    if reason := remote.why_no_remote():
        pytest.skip(reason)
    with remote.running_remote(tmp_path_factory.mktemp("remote")) as host:
        yield host


@pytest.fixture(scope="session")
def kraken_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The managed environment of Kraken, built by the first who asks if it is not there."""
    made_once(tmp_path_factory, "kraken", lambda folder: setup_htr())
    return managed_folder("htr")


@pytest.fixture(scope="session")
def ceph_server() -> Iterator[s3.Ceph]:
    """A real S3 with the bucket `tests`."""
    if reason := s3.why_not():
        pytest.skip(reason)
    with s3.running_ceph() as ceph:
        ceph.make_bucket("tests")
        yield ceph


@pytest.fixture
def ceph(ceph_server: s3.Ceph, monkeypatch: pytest.MonkeyPatch) -> s3.Ceph:
    """The S3, with its credentials in the environment."""
    for name, value in ceph_server.environment().items():
        monkeypatch.setenv(name, value)
    stores._open.cache_clear()
    return ceph_server
