"""The user's own ssh, one authentication for many commands, and errors with their remedy."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from deepsynth.runners.slurm.connection import Connection, RemoteError, explain
from tests.servers.remote import RemoteHost


@pytest.fixture
def alone(
    remote_host: RemoteHost, sockets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Connection:
    """A connection of a user whose own config shares no connections."""
    config = (remote_host.folder / "ssh_config").read_text().splitlines()
    own = tmp_path / "ssh_config"
    own.write_text("\n".join(line for line in config if "Control" not in line))
    (tmp_path / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F "{own}" "$@"\n')
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Connection("hpc")


def test_one_authentication_serves_many_commands(alone: Connection, sockets: Path) -> None:
    assert alone.check("echo $((6 * 7))", "no") == "42\n"
    (socket,) = (sockets / "deepsynth").iterdir()
    assert (sockets / "deepsynth").stat().st_mode & 0o077 == 0
    assert alone.run("true").code == 0
    control = ["ssh", "-o", f"ControlPath={socket}", "-O"]
    told = subprocess.run([*control, "check", "hpc"], capture_output=True, text=True, check=True)
    assert "Master running" in told.stderr
    subprocess.run([*control, "exit", "hpc"], capture_output=True, check=True)


def test_a_noisy_login_a_hungry_command_and_bash_logout(
    alone: Connection, remote_host: RemoteHost
) -> None:
    remote_host.root("echo 'echo Welcome to the centre' >>/home/alice/.profile")
    try:
        done = alone.run("cat; echo here; exit 7")
    finally:
        remote_host.root("sed -i '/Welcome/d' /home/alice/.profile")
    assert (done.code, done.stdout) == (7, "here\n")


def test_what_failed_there_is_told_with_its_remedy(alone: Connection) -> None:
    with pytest.raises(RemoteError, match="invalid partition") as caught:
        alone.check("echo 'sbatch: error: invalid partition specified: x' >&2; exit 1", "refused")
    assert caught.value.what == "refused: sbatch: error: invalid partition specified: x"
    assert "doctor --on" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("rsync: write failed: Disk quota exceeded (122)", "deepsynth clean"),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", "sacctmgr"),
        ("Requested node configuration is not available", "gres"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "Lower `time`"),
        ("Unable to contact slurm controller (connect failure)", "passes in minutes"),
        ("bash: line 1: sbatch: command not found", "login node"),
    ],
)
def test_known_complaints_have_a_remedy(said: str, remedy: str) -> None:
    assert remedy in str(explain(said))
    assert explain("something else") is None
