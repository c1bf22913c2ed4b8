"""The folders the Hub client writes to, and whether it can."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROBE_BYTES = 1 << 20
XET_ROOM = 256 << 20
"""Free bytes under the Xet cache below which Xet is not begun: it stages its blocks there."""


def cache_folders(environment: Mapping[str, str] | None = None) -> dict[str, Path]:
    """Cache folder by the variable that moves it, as the client resolves them."""
    env = environment or os.environ
    home = Path(
        env.get("HF_HOME") or Path(env.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    ).expanduser()
    return {
        "HF_HOME": home,
        "HF_HUB_CACHE": _folder(env, "HF_HUB_CACHE", home / "hub"),
        "HF_XET_CACHE": _folder(env, "HF_XET_CACHE", home / "xet"),
        "HF_DATASETS_CACHE": _folder(env, "HF_DATASETS_CACHE", home / "datasets"),
    }


def _folder(env: Mapping[str, str], name: str, default: Path) -> Path:
    return Path(env.get(name) or default).expanduser()


@dataclass(frozen=True)
class Room:
    """What a probe of a folder found.

    Attributes:
        path: The folder asked about, which may not exist yet.
        free_bytes: Free bytes of its disk; 0 when even that cannot be found out.
        error: Why nothing can be written there; empty when it can.
    """

    path: Path
    free_bytes: int
    error: str = ""


def probe(path: Path) -> Room:
    """Write and remove one MiB under `path`, which shows what `df` does not: quotas, rights."""
    existing = path
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return Room(path, 0, error.strerror or str(error))
    trial = path / f".probe-{uuid.uuid4().hex}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        with trial.open("wb") as stream:
            stream.write(bytes(PROBE_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        return Room(path, free, error.strerror or str(error))
    finally:
        with contextlib.suppress(OSError):
            trial.unlink(missing_ok=True)
    return Room(path, free)
