"""A whole remote login node for tests: own host name, home and /tmp, a real sshd and Slurm.

It lives in namespaces of this machine; no port is opened. `ssh hpc` reaches it while the `bin`
folder of it is first on the path.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.slurm import server_environment, why_not

HERE = Path(__file__).parent


@dataclass(frozen=True)
class RemoteHost:
    """A running login node.

    Attributes:
        folder: Its state on this side: keys, ssh_config, logs.
        bin: Holds an `ssh` and an `sftp` that know the host `hpc`.
    """

    folder: Path
    bin: Path

    def root(self, script: str) -> str:
        """Run lines of bash as root inside; returns what they print."""
        pid = (self.folder / "inner.pid").read_text().strip()
        # The first process of the inner pid namespace has the login node's root as its own.
        argv = ["nsenter", "-t", pid, "-a", "-r", "-w", "bash", "-c", script]
        environment = server_environment(SLURM_CONF="/opt/slurm/slurm.conf")
        return subprocess.run(
            argv, env=environment, capture_output=True, text=True, check=True
        ).stdout

    def show(self, folder: Path) -> None:
        """Let alice read a folder of this machine, below the home of who runs the tests."""
        above = [folder, *folder.parents][:-1]
        self.root(f"chmod o+rx {shlex.join(map(str, above))}")


def why_no_remote() -> str | None:
    """Why no login node can run here, or None when one can."""
    reason = why_not("sshd", "rsync", "socat", "ip", "unshare", "nsenter")
    if reason:
        return reason
    probe = ["unshare", "--net", "--uts", "--mount", "--pid", "--ipc", "--fork", "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        return "needs namespaces (unshare), which this machine forbids"
    return None


@contextmanager
def running_remote(folder: Path, **settings: str) -> Iterator[RemoteHost]:
    """Run a login node with its state in `folder`."""
    source = Path(__file__).parents[3] / "src"
    readable = f"{sys.prefix} {Path(sys.base_prefix).resolve()} {source}"
    environment = server_environment(**({"READABLE": readable} | settings))
    try:
        subprocess.run(
            ["bash", HERE / "start.sh", folder],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=60,
        )
        tools = folder / "bin"
        tools.mkdir()
        for name in ("ssh", "sftp"):
            tool = tools / name
            tool.write_text(f'#!/bin/sh\nexec /usr/bin/{name} -F "{folder}/ssh_config" "$@"\n')
            tool.chmod(0o755)
        host = RemoteHost(folder, tools)
        yield host
    finally:
        subprocess.run(["bash", HERE / "stop.sh", folder], env=environment, check=False)
