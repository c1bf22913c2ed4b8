"""Files that are whole or absent, and the digests that prove they did not change."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def appearing(path: Path) -> Generator[Path]:
    """A draft beside `path`, a file or a folder, that takes its name when the block ends well.

    A reader sees what was there before or the whole of the new, also after a power cut: the bytes
    of a file are on the disk before it gets its name. If the block fails, the draft is removed.
    A file takes the place of another; a folder only that of an empty one.
    """
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        yield draft
        if draft.is_file():
            with draft.open("rb") as stream:
                os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        remove(draft)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def link_out_of(folder: Path) -> Path | None:
    """A symbolic link below `folder` that leads out of it, or None.

    Who made the folder chose where it leads: what is read, sent or written there is not its own.
    """
    root = os.path.realpath(folder)
    waiting = [root]
    while waiting:
        with suppress(PermissionError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    if not Path(os.path.realpath(entry.path)).is_relative_to(root):
                        return folder / Path(entry.path).relative_to(root)
                elif entry.is_dir():
                    waiting.append(entry.path)
    return None


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """The same file or folder at a second place: by link where it can be, which takes no space."""
    if Path(source).is_dir():
        shutil.copytree(source, target, copy_function=link_or_copy)
        return
    try:
        os.link(Path(source).resolve(), target)
    except OSError:
        shutil.copy2(source, target)


@contextmanager
def locked(path: Path, busy: Callable[[], Exception] | None = None) -> Generator[int]:
    """Hold the lock file `path`; yields the descriptor that holds it.

    The kernel frees it when the last process that inherited the descriptor ends, however it ends.

    Args:
        path: Made if need be, and kept.
        busy: What to raise if another process holds it; by default it is waited for.
    """
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise (busy or BlockingIOError)() from None
        yield stream.fileno()


def is_locked(path: Path) -> bool:
    """Whether a process on this machine holds the lock file `path`."""
    try:
        with path.open("r+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step: a reader sees the old file or the new one."""
    with appearing(path) as draft:
        draft.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Like `write_bytes`, for text in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Like `write_text`, for plain data; NaN and infinities are refused."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The plain data in `path`, or None when the file is absent, cut short or no plain data."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return None


def append_line(path: Path, value: Any) -> None:
    """Append one JSON line in a single write, so that lines of two processes never mix."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"
    data = line.encode()
    with path.open("ab", buffering=0) as stream:
        if stream.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def read_lines(path: Path) -> list[Any]:
    """The JSON lines of `path`; none when it is absent."""
    return parse_lines(path.read_bytes()) if path.is_file() else []


def parse_lines(data: bytes) -> list[Any]:
    """JSON lines; one cut short by a kill or a full disk is left out."""
    entries: list[Any] = []
    for line in data.splitlines():
        try:
            entries.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    return entries


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of the bytes of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_value(value: Any) -> str:
    """Hexadecimal sha256 of plain data, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def files_below(path: Path) -> Iterator[Path]:
    """`path` itself if it is a file, else every file below it in a stable order."""
    if path.is_dir():
        for root, folders, names in os.walk(path):
            folders.sort()
            yield from (Path(root) / name for name in sorted(names))
    elif path.exists():
        yield path


def digest(path: Path) -> dict[str, dict[str, Any]]:
    """Size and sha256 of every file at or below `path`, by path relative to it."""
    base = path if path.is_dir() else path.parent
    return {
        file.relative_to(base).as_posix(): {
            "bytes": file.stat().st_size,
            "sha256": sha256_file(file),
        }
        for file in files_below(path)
    }
