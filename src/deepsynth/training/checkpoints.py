"""Checkpoints that are trusted only when they are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepsynth import durable

MARKER = "complete.json"


def mark_complete(checkpoint: Path) -> None:
    """Record size and sha256 of every file of a checkpoint, once all of them are written."""
    durable.write_json(checkpoint / MARKER, _digest(checkpoint))


def is_complete(checkpoint: Path) -> bool:
    """Whether every file is as it was when the checkpoint was marked."""
    return durable.read_json(checkpoint / MARKER) == _digest(checkpoint)


def last_complete(folder: Path) -> Path | None:
    """The checkpoint in `folder` with the most updates that is whole, or None."""
    found = [path for path in folder.glob("checkpoint-*") if path.name[11:].isdigit()]
    for path in sorted(found, key=updates_of, reverse=True):
        if is_complete(path):
            return path
    return None


def updates_of(checkpoint: Path) -> int:
    """Updates made when `checkpoint-120` was saved: 120."""
    return int(checkpoint.name.rpartition("-")[2])


def _digest(checkpoint: Path) -> dict[str, Any]:
    return {name: d for name, d in durable.digest(checkpoint).items() if name != MARKER}
