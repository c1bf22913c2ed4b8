"""Install pinned packages into an environment: by uv where that fetches what pip would.

uv installs in a tenth of pip's processor time and shares what it fetched between environments, but
does not read pip's settings. They are handed to it; where one has no counterpart, pip installs.
Nothing but the standard library is used, so `make setup` runs this file before anything is there:

    python -P src/deepsynth/run/installer.py --constraint requirements.lock --editable '.[train]'
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlparse

_COUNTERPARTS = {
    "cert": ("SSL_CERT_FILE", " "),
    "client-cert": ("SSL_CLIENT_CERT", " "),
    "constraint": ("UV_CONSTRAINT", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "proxy": ("ALL_PROXY", " "),
    "retries": ("UV_HTTP_RETRIES", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
}
"""Settings of pip, the variable of uv that says the same, and what stands between two values."""
_OF_NO_ACCOUNT = {
    *("break-system-packages", "cache-dir", "compile", "config-file", "disable-pip-version-check"),
    *(
        "log",
        "no-cache-dir",
        "no-color",
        "no-compile",
        "no-input",
        "no-python-version-warning",
        "progress-bar",
        "quiet",
    ),
    *("require-virtualenv", "root-user-action", "verbose", "no-warn-script-location"),
}
"""Settings of pip that do not change which files are installed."""


def install(
    python: Path,
    requirements: list[str],
    *,
    constraint: Path | None = None,
    output: IO[bytes] | None = None,
) -> int:
    """Install `requirements`.

    They are compiled to bytecode when they are first imported; at once only where interpreters are
    told to keep no bytecode (`PYTHONDONTWRITEBYTECODE`), since each would compile torch anew.

    Said first: how many packages, how many megabytes, and whether torch is the build for CPUs. On
    a machine without an NVIDIA GPU that build is taken where one can be had; a set
    `UV_TORCH_BACKEND` decides for itself.

    Args:
        python: Interpreter of the environment; it needs no pip of its own.
        requirements: Lines of a requirements file, such as `-r htr.lock` or `-e .[train]`.
        constraint: Pins that also hold for what builds a package from source.
        output: Where all that is said goes; standard error when None.

    Returns:
        The exit code of the installer; it has said what went wrong.
    """
    lines = [*requirements, *([f"-c {constraint.resolve()}"] if constraint else [])]
    with tempfile.TemporaryDirectory(prefix="deepsynth-install-") as folder:
        uv, settings = find_uv(), uv_settings()
        if uv and settings is not None:
            if sys.dont_write_bytecode:
                settings["UV_COMPILE_BYTECODE"] = "1"
            if constraint:
                settings["UV_BUILD_CONSTRAINT"] = str(constraint.resolve())
            resolver = _Resolver(uv, python, lines, os.environ | settings, Path(folder))
            if (packages := resolver.resolve(output)) is not None:
                _say(_size(packages), output)
                return _watch(resolver.install_argv(), resolver.environ, output)
            _say("uv cannot find them all; pip tries.", output)
        listed = Path(folder) / "requirements.txt"
        listed.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        argv = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-input"]
        argv += ["--compile" if sys.dont_write_bytecode else "--no-compile", "-r", str(listed)]
        return subprocess.run(argv, stdout=output, stderr=output, check=False).returncode


def find_uv() -> str | None:
    """The uv beside this interpreter, or the one on the path."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


def uv_settings() -> dict[str, str] | None:
    """The settings of pip as variables of uv, or None where one has no counterpart.

    Addresses may hold passwords: they go to uv through its environment and are never shown.
    """
    argv = [sys.executable, "-m", "pip", "config", "list"]
    said = subprocess.run(argv, capture_output=True, text=True, check=False)
    # pip takes the best version of all indexes; uv would stop at the first that has the package.
    settings = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    if said.returncode:  # an environment without pip: there is nobody whose settings would count
        return settings
    # The settings of the environment come first, those of `install` before those of all commands.
    ranks = {":env:": 0, "install": 1, "global": 2}
    found: dict[str, tuple[int, str]] = {}
    for line in said.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in ranks:
            told = (ranks[section], str(ast.literal_eval(value)))
            found[name] = min(told, found.get(name, told))
    for name, (_, value) in found.items():
        if name in _COUNTERPARTS:
            variable, between = _COUNTERPARTS[name]
            settings[variable] = between.join(value.split())
        elif name not in _OF_NO_ACCOUNT:
            return None
    return settings


def has_nvidia_gpu() -> bool:
    """Whether this machine has the driver of an NVIDIA GPU."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


_LISTED = re.compile(rb"^ (?:\x1b\[\d+m)?[-+~](?:\x1b\[\d+m)? .*\n", re.MULTILINE)
"""A line of uv's list of what was installed or removed."""


class _Resolver:
    """Which files uv would fetch; kept, so that exactly these are installed."""

    def __init__(
        self, uv: str, python: Path, lines: list[str], environ: dict[str, str], folder: Path
    ) -> None:
        self.uv, self.python, self.lines, self.environ = uv, python, lines, environ
        self.chosen = folder / "pylock.toml"

    def resolve(self, output: IO[bytes] | None) -> list[dict[str, Any]] | None:
        """The packages as `pylock.toml` lists them; None, and said why, where there is no way."""
        packages = self._attempt(self.environ, output)
        if _has_cuda(packages) and not has_nvidia_gpu() and "UV_TORCH_BACKEND" not in self.environ:
            cpu = self.environ | {"UV_TORCH_BACKEND": "cpu", "UV_HTTP_RETRIES": "1"}
            kept = self.chosen.read_bytes()
            for_cpu = self._attempt(cpu, None)
            if for_cpu is not None and not _has_cuda(for_cpu):
                return for_cpu
            self.chosen.write_bytes(kept)
            _say("No torch for CPUs can be reached: CUDA comes, though no GPU is here.", output)
        return packages

    def install_argv(self) -> list[str]:
        """What installs them. pylock.toml holds the constraints; uv refuses them beside it."""
        self.environ.pop("UV_CONSTRAINT", None)
        preview = ("--preview-features", "pylock")
        return [self.uv, "pip", "install", *preview, *self._python, "-r", str(self.chosen)]

    @property
    def _python(self) -> tuple[str, str]:
        return ("--python", str(self.python))

    def _attempt(
        self, environ: dict[str, str], output: IO[bytes] | None
    ) -> list[dict[str, Any]] | None:
        argv = [self.uv, "pip", "compile", "--quiet", "--no-header", "--format", "pylock.toml"]
        argv += [*self._python, "--output-file", str(self.chosen), "-"]
        lines = "\n".join(self.lines)
        told = subprocess.run(argv, input=lines, env=environ, capture_output=True, text=True)
        if told.returncode:
            if environ is self.environ:
                _say(told.stderr.strip(), output)
            return None
        return tomllib.loads(self.chosen.read_text(encoding="utf-8")).get("packages", [])


def _has_cuda(packages: list[dict[str, Any]] | None) -> bool:
    return any(package["name"].startswith("nvidia-") for package in packages or [])


def _size(packages: Iterable[dict[str, Any]]) -> str:
    """How much there is to fetch: the first wheel of each package, or its source."""
    total = count = 0
    torch = ""
    for package in packages:
        files = [*package.get("wheels", []), package.get("sdist") or {}]
        address = urlparse(files[0].get("url", ""))
        if address.scheme == "file":
            total += Path(unquote(address.path)).stat().st_size
        total += files[0].get("size", 0)
        count += "directory" not in package
        torch = package["version"] if package["name"] == "torch" else torch
    build = ", torch for CPUs" if torch.endswith("+cpu") else ""
    return f"{count} packages, {total / 1e6:,.0f} MB to fetch but for what uv has kept{build}."


def _watch(argv: list[str], environ: dict[str, str], output: IO[bytes] | None) -> int:
    """Run uv and show how far it is, but not its list of all that is installed.

    uv draws its progress only on a terminal, so it gets one of its own where we have one.
    """
    if output is None and sys.stderr.isatty():
        import pty
        import termios

        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, termios.tcgetwinsize(sys.stderr.fileno()))
    else:
        ours, theirs = os.pipe()
    stream = output or sys.stderr.buffer
    with subprocess.Popen(
        argv, env=environ, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        rest = b""
        while chunk := _read(ours):
            lines, newline, rest = (rest + chunk).rpartition(b"\n")
            stream.write(_LISTED.sub(b"", lines + newline))
            if not rest.startswith(b" "):  # not the beginning of a line of the list
                stream.write(rest)
                rest = b""
            stream.flush()
    os.close(ours)
    return process.returncode


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how Linux says that a terminal has no writer any more
        return b""


def _say(text: str, output: IO[bytes] | None) -> None:
    stream = output or sys.stderr.buffer
    stream.write(f"{text}\n".encode())
    stream.flush()


def main() -> int:
    """Install what the command line names into the environment of this interpreter."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--constraint", type=Path, required=True)
    parser.add_argument("--editable", required=True)
    told = parser.parse_args()
    return install(Path(sys.executable), [f"-e {told.editable}"], constraint=told.constraint)


if __name__ == "__main__":
    sys.exit(main())
