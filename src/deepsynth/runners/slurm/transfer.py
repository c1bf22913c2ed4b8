"""Moving files to and from a site: resumable, only what changed, and proved by sha256.

rsync does the work. A file cut in the middle waits in `.rsync-partial` and never carries its
final name. Where a side has no rsync, sftp moves the files whose sha256 differs. Either way the
result is verified with `sha256sum` on the far side (sending) or against the digests taken there
(fetching), and a file that differs is sent once more in full.
"""

from __future__ import annotations

import os
import posixpath
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Literal

from deepsynth import durable
from deepsynth.errors import DataError, DeepSynthError
from deepsynth.runners.slurm.connection import Connection, ConnectionLost, last_lines
from deepsynth.runners.slurm.words import explain

RETRIES = 4
"""How often a cut transfer is taken up again before the user is told."""

_CUT = {10, 12, 30, 35, 255, -9, -15, 20}
"""rsync's codes for a lost connection, a timeout, or an rsync that was killed."""


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""What no name may hold that a line of an sftp batch is made of."""
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_PROGRESS = re.compile(rb"(\d+)% +(\S+/s) ")

Progress = Callable[[int, str], None]
"""Told how far a transfer is: percent of its bytes, and bytes a second in words."""


def silent(percent: int, rate: str) -> None:
    """A progress nobody watches."""


class TransferFailed(DeepSynthError):
    """Files did not arrive whole."""


@dataclass(frozen=True)
class Transfer:
    """Copies files between here and one site.

    Args:
        connection: The site.
        patience: Seconds before the first retry of a cut transfer; doubled each time.
        way: The only way to try; by default rsync, and sftp where a side has none.
    """

    connection: Connection
    patience: float = 2.0
    way: Literal["rsync", "sftp"] | None = None

    def send(
        self,
        source: Path,
        folder: str,
        *,
        exclude: Sequence[str] = (),
        delete: bool = False,
        progress: Progress = silent,
    ) -> int:
        """Make `folder` there hold what `source` is: a file, or all that is below a folder.

        Args:
            source: What to send; links are followed.
            folder: Absolute folder there; made if absent.
            exclude: Names to leave out, `/a` meaning at the top of `source`.
            delete: Remove what is there and not here.
            progress: Told how far it is.

        Returns:
            Number of files that are there and verified.

        Raises:
            DataError: A name holds a line break or another control character.
            ConnectionLost: The connection was cut again and again.
            TransferFailed: The files there are not the files here, or do not fit there.
        """
        wanted = local_digests(source, exclude)
        for name in wanted:
            if _CONTROL.search(f"{source.name}/{name}"):
                raise DataError(
                    f"a name holds a line break or another control character: {name!r}.",
                    where=source,
                    hint="Rename the file or folder.",
                )
        quoted = shlex.quote(folder)
        made = f"umask 077; mkdir -p {quoted}"
        self.connection.check(made, "the folder cannot be made there")
        flags = [f"--exclude={name}" for name in exclude] + (["--delete"] if delete else [])
        origin = f"{source}/" if source.is_dir() else str(source)
        wrong: set[str] = set()
        for again in ([], ["--ignore-times"]):
            if self._has_rsync:
                there = f"{self.connection.host}:{folder}/"
                self._rsync([*flags, *again], origin, there, progress)
            else:
                base = source if source.is_dir() else source.parent
                self._sftp_put(base, folder, _differing(wanted, self._digests(folder)))
            wrong = _differing(wanted, self._digests(folder))
            if not wrong:
                return len(wanted)
        raise TransferFailed(
            f"{len(wrong)} files differ after being sent, the first {min(wrong)}.",
            where=f"{self.connection.name}:{folder}",
            hint="Was it changed meanwhile? Give the same command again.",
        )

    def fetch(
        self,
        folder: str,
        target: Path,
        *,
        exclude: Sequence[str] = (),
        progress: Progress = silent,
    ) -> None:
        """Bring what is below `folder` there into `target`; nothing here is deleted.

        The caller verifies: it knows the digests taken when the files were made.
        """
        target.mkdir(parents=True, exist_ok=True)
        if self._has_rsync:
            flags = [f"--exclude={name}" for name in exclude]
            self._rsync(flags, f"{self.connection.host}:{folder}/", f"{target}/", progress)
            return
        there = {n: d for n, d in self._digests(folder).items() if not _excluded(n, exclude)}
        here = {n: durable.sha256_file(target / n) for n in there if (target / n).is_file()}
        self._sftp_get(folder, target, _differing(there, here))

    @cached_property
    def _has_rsync(self) -> bool:
        if self.way:
            return self.way == "rsync"
        there = "command -v rsync >/dev/null"
        return shutil.which("rsync") is not None and self.connection.run(there).code == 0

    def _rsync(self, flags: list[str], source: str, target: str, progress: Progress) -> None:
        argv = ["rsync", "-rtLs", "--partial-dir=.rsync-partial", "--timeout=120"]
        argv += ["--info=progress2", "--no-inc-recursive"]
        argv += ["-e", shlex.join(self.connection.ssh), *flags, "--", source, target]
        for attempt in count(1):
            code, complaint = _watched(argv, progress)
            if code == 0:
                return
            said, remedy = last_lines(complaint), explain(complaint)
            if remedy or code not in _CUT:
                raise TransferFailed(
                    f"rsync could not copy: {said}",
                    where=self.connection.name,
                    hint=remedy or "Give the same command again; it goes on where it stopped.",
                )
            if attempt > RETRIES:
                raise ConnectionLost(
                    f"the transfer was cut {attempt} times: {said}",
                    where=self.connection.name,
                    hint="Give the same command again; it goes on where it stopped.",
                )
            time.sleep(self.patience * 2 ** (attempt - 1))

    def _sftp_put(self, here: Path, there: str, names: set[str]) -> None:
        folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
        lines = [f"-mkdir {_sftp_quote(f'{there}/{f}')}" for f in sorted(folders - {"."})]
        for name in sorted(names):
            final, part = _sftp_quote(f"{there}/{name}"), _sftp_quote(f"{there}/{name}.part")
            lines += [f"put {_sftp_quote(str(here / name))} {part}", f"-rm {final}"]
            lines += [f"rename {part} {final}"]
        self._sftp(lines)

    def _sftp_get(self, there: str, here: Path, names: set[str]) -> None:
        for name in names:
            (here / name).parent.mkdir(parents=True, exist_ok=True)
        self._sftp(
            f"get {_sftp_quote(f'{there}/{name}')} {_sftp_quote(f'{here / name}.part')}"
            for name in sorted(names)
        )
        for name in names:
            (here / f"{name}.part").replace(here / name)

    def _sftp(self, lines: Iterable[str]) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".sftp", encoding="utf-8") as batch:
            batch.write("\n".join(lines) + "\n")
            batch.flush()
            argv = ["sftp", "-q", *self.connection.options, "-b", batch.name]
            argv += ["--", str(self.connection.host)]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise TransferFailed(
                f"sftp could not copy: {last_lines(done.stderr)}",
                where=self.connection.name,
                hint=explain(done.stderr) or "Give the same command again.",
            )

    def _digests(self, folder: str) -> dict[str, str]:
        """The sha256 of every file below `folder` there, by path relative to it.

        Raises:
            TransferFailed: What the site lists are no files below the folder.
        """
        script = (
            f"cd {shlex.quote(folder)} && find -L . -name .rsync-partial -prune -o -type f -print0 "
            "| xargs -0 -r sha256sum -z"
        )
        text = self.connection.check(script, "the files cannot be verified there", timeout=None)
        digests: dict[str, str] = {}
        for entry in filter(None, text.split("\0")):
            digest, _, listed = entry.partition("  ")
            # One name for a file: `././x` must not pass for another one than `x`.
            name = posixpath.normpath(listed)
            outside = name.startswith(("/", "..")) or name == "." or _CONTROL.search(name)
            if outside or not _DIGEST.match(digest):
                raise TransferFailed(
                    f"the site lists what is no file of the run: {entry!r}.",
                    where=self.connection.name,
                )
            digests[name] = digest
        return digests


def try_ways(connection: Connection, workspace: str) -> dict[str, str]:
    """Send and fetch a few bytes in each way files can take.

    Args:
        connection: The site.
        workspace: Absolute folder there.

    Returns:
        What went wrong by each way, empty where all is well: `shell` (what a shell prints that
        nobody asked), `rsync`, `sftp`.
    """
    silent_shell = subprocess.run(
        [*connection.ssh, "--", str(connection.host), "true"],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        check=False,
    )
    failed = {"shell": silent_shell.stdout.strip()}
    if failed["shell"]:
        return failed
    there = f"{workspace}/.doctor"
    with tempfile.TemporaryDirectory(prefix="deepsynth-doctor-") as folder:
        (Path(folder) / "sent").mkdir()
        (Path(folder) / "sent" / "few bytes").write_text("few bytes", encoding="utf-8")
        ways: tuple[Literal["rsync", "sftp"], ...] = ("rsync", "sftp")
        for way in ways:
            transfer = Transfer(connection, way=way)
            try:
                transfer.send(Path(folder) / "sent", f"{there}/{way}")
                transfer.fetch(f"{there}/{way}", Path(folder) / way)
                failed[way] = ""
            except DeepSynthError as error:
                failed[way] = error.what
    connection.run(f"rm -rf {shlex.quote(there)}")
    return failed


def _watched(argv: list[str], progress: Progress) -> tuple[int, str]:
    """Run rsync and pass on what it says of its progress; its exit code and its complaints."""
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=complaints) as child,
    ):
        assert child.stdout is not None
        told_by = child.stdout.fileno()
        try:
            while told := os.read(told_by, 4096):
                if found := _PROGRESS.findall(told):
                    percent, rate = found[-1]
                    progress(int(percent), rate.decode())
        except BaseException:
            child.terminate()
            raise
        code = child.wait()
        complaints.seek(0)
        return code, complaints.read().decode(errors="replace")


def local_digests(path: Path, exclude: Sequence[str] = ()) -> dict[str, str]:
    """The sha256 of every file at or below `path` here, by path relative to it."""
    return {
        name: entry["sha256"]
        for name, entry in durable.digest(path).items()
        if not _excluded(name, exclude)
    }


def _differing(wanted: dict[str, str], found: dict[str, str]) -> set[str]:
    return {name for name, digest in wanted.items() if found.get(name) != digest}


def _excluded(name: str, patterns: Sequence[str]) -> bool:
    """Whether rsync's `--exclude` would leave `name` out; patterns hold no wildcards."""
    return any(
        name == pattern[1:] or name.startswith(f"{pattern[1:]}/")
        if pattern.startswith("/")
        else pattern in name.split("/")
        for pattern in patterns
    )


def _sftp_quote(path: str) -> str:
    if _CONTROL.search(path):
        raise DataError("sftp cannot be given this name.", where=repr(path), hint="Rename it.")
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
