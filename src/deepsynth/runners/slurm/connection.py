"""Talking to a site: a script is sent to a login shell there, over the user's own ssh or here.

The system's `ssh` is used, so the user's `~/.ssh/config`, agent, ProxyJump and one-time passwords
apply; one authentication serves all commands of ten minutes (ControlMaster).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from deepsynth.errors import DeepSynthError, MissingDependency
from deepsynth.runners.slurm.words import explain

MARK = "deepsynth-begins-here"
"""Printed on both streams before what a script says: login shells may say something, too."""

SSH_FAILED = 255


class ConnectionLost(DeepSynthError):
    """The site cannot be reached now; what runs there goes on."""


class RemoteError(DeepSynthError):
    """A command ended badly at the site."""


class FolderGone(RemoteError):
    """The run folder at the site was deleted."""


@dataclass(frozen=True)
class Output:
    """What a script printed there."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Connection:
    """A login shell at a site.

    Args:
        host: Alias for ssh; None runs the shell on this machine.
    """

    host: str | None

    def run(self, script: str, *, timeout: float | None = 300) -> Output:
        """Run lines of bash in a login shell there; stdin is empty.

        Raises:
            ConnectionLost: ssh could not reach the site, or nothing came back in `timeout` seconds.
        """
        # In a subshell, so that bash has read all of it before any command could eat its input,
        # and so that `set -e` does not reach ~/.bash_logout, which would change the exit code.
        text = f"( echo {MARK}; echo {MARK} >&2\n{script}\n) </dev/null\nexit $?\n"
        argv = ["bash", "-l", "-s"]
        if self.host is not None:
            argv = [*self.ssh, "--", self.host, *argv]
        try:
            done = subprocess.run(
                argv, input=text.encode(), capture_output=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise ConnectionLost(
                f"no answer for {timeout:.0f} s.", where=self.host, hint="Try again in a while."
            ) from None
        stdout, stderr = (data.decode(errors="replace") for data in (done.stdout, done.stderr))
        before, mark, after = stdout.partition(f"{MARK}\n")
        if self.host is not None and (done.returncode == SSH_FAILED or not mark):
            raise self.lost(stderr or before)
        _, told, complaint = stderr.partition(f"{MARK}\n")
        return Output(done.returncode, after, complaint if told else stderr)

    def check(self, script: str, what: str, *, timeout: float | None = 300) -> str:
        """Like `run`; gives back what was printed.

        Raises:
            RemoteError: The script ended with another code than 0; the message starts with `what`.
        """
        done = self.run(script, timeout=timeout)
        if done.code != 0:
            said = last_lines(done.stderr or done.stdout)
            raise RemoteError(f"{what}: {said}", where=self.name, hint=explain(said))
        return done.stdout

    @property
    def name(self) -> str:
        """The site as messages call it."""
        return self.host or "this machine"

    @cached_property
    def ssh(self) -> list[str]:
        """The ssh command line; the site is lent neither agent nor screen nor port of this side."""
        return ["ssh", "-T", "-a", "-x", "-o", "ClearAllForwardings=yes", *self.options]

    @cached_property
    def options(self) -> list[str]:
        """Options for ssh and sftp: a shared connection, unless the user's config has its own."""
        if shutil.which("ssh") is None:
            raise MissingDependency(
                "ssh is not installed.", hint="Install openssh-client (Linux) and try again."
            )
        options = ["-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15"]
        config = subprocess.run(
            ["ssh", "-G", "--", str(self.host)], capture_output=True, text=True, check=False
        ).stdout
        has_own = "\ncontrolpath /" in config and "\ncontrolmaster false" not in config
        folder = _socket_folder()
        if not has_own and folder is not None:
            options += ["-o", "ControlMaster=auto", "-o", "ControlPersist=600"]
            options += ["-o", f"ControlPath={folder}/%C"]
        return options

    def lost(self, said: str) -> ConnectionLost:
        """The error that explains why ssh (or rsync over it) did not get through."""
        said = last_lines(said)
        return ConnectionLost(
            f"the site cannot be reached: {said}", where=self.host, hint=_why(said)
        )


def last_lines(text: str, count: int = 3) -> str:
    """The last lines of what a program said, as one; what would steer a terminal is left out."""
    shown = ("".join(c for c in line if c.isprintable()) for line in text.splitlines())
    lines = [line.strip() for line in shown if line.strip()]
    return " | ".join(lines[-count:]) or "it said nothing"


def _socket_folder() -> Path | None:
    """A private folder for ssh's sockets, whose paths the system limits to about 100 bytes."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) / "deepsynth" if runtime else Path.home() / ".ssh" / "deepsynth"
    if len(os.fsencode(folder)) > 45 or " " in str(folder):
        return None
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _why(said: str) -> str:
    text = said.lower()
    if "permission denied" in text:
        return "Log in once by hand with `ssh HOST`; check the user name and the key of the site."
    if "could not resolve" in text:
        return "Add the site to ~/.ssh/config, or connect to its network (VPN)."
    if "host key verification" in text:
        return "Log in once by hand with `ssh HOST` and confirm the host key."
    return "What runs there goes on. Check the network or VPN, then give the same command again."
