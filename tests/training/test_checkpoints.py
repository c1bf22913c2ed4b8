from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deepsynth.training.checkpoints import is_complete, last_complete, mark_complete, updates_of


def checkpoint(folder: Path, updates: int) -> Path:
    path = folder / f"checkpoint-{updates}"
    (path / "deep").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"w" * 1000)
    (path / "deep" / "state.json").write_text("{}")
    mark_complete(path)
    return path


def cut(path: Path) -> None:
    (path / "model.safetensors").write_bytes(b"w" * 500)


def flip(path: Path) -> None:
    (path / "model.safetensors").write_bytes(b"w" * 999 + b"x")


def lose(path: Path) -> None:
    (path / "deep" / "state.json").unlink()


def add(path: Path) -> None:
    (path / "optimizer.pt.tmp").touch()


def unmark(path: Path) -> None:
    (path / "complete.json").unlink()


def empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


@pytest.mark.parametrize("harm", [cut, flip, lose, add, unmark, empty])
def test_the_last_checkpoint_that_is_whole_is_taken(tmp_path: Path, harm: object) -> None:
    assert last_complete(tmp_path) is None
    paths = [checkpoint(tmp_path, updates) for updates in (9, 10, 100)]
    (tmp_path / "checkpoint-best").mkdir()
    assert last_complete(tmp_path) == paths[2]
    assert callable(harm)
    harm(paths[2])
    assert not is_complete(paths[2])
    assert last_complete(tmp_path) == paths[1]
    assert updates_of(paths[1]) == 10
