"""Files that are whole or absent, and the digests that prove they did not change."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step: a reader sees the old file or the new one.

    Two nodes that share the folder may have processes of the same number, so the draft's name
    tells both.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Like `write_text`, for plain data; NaN and infinities are refused."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The plain data in `path`, or None when the file is absent or was cut short."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
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
    return parse_lines(path.read_bytes()) if path.exists() else []


def parse_lines(data: bytes) -> list[Any]:
    """JSON lines; one cut short by a kill or a full disk is left out."""
    entries: list[Any] = []
    for line in data.splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
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
