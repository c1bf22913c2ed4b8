"""The store, and a folder worth publishing."""

from __future__ import annotations

import random
import uuid
from pathlib import Path

import pytest

MEBIBYTE = 1 << 20


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A location nobody used yet, on a disk and on S3."""
    if request.param == "file":
        return f"file://{tmp_path}/store"
    request.getfixturevalue("ceph")
    return f"s3://tests/{uuid.uuid4().hex[:12]}"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies are kept."""
    monkeypatch.setenv("DEEPSYNTH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def write_folder(folder: Path, seed: int = 0, mebibytes: int = 0) -> Path:
    """Some files, one of them as large as asked; the same bytes for the same seed."""
    generator = random.Random(seed)
    (folder / "model" / "é à").mkdir(parents=True)
    (folder / "model" / "config.json").write_text(f'{{"seed": {seed}}}')
    (folder / "model" / "é à" / "100% #1 ~.txt").write_text("names are kept")
    (folder / "empty").touch()
    if mebibytes:
        (folder / "model" / "weights").write_bytes(generator.randbytes(mebibytes * MEBIBYTE))
    return folder
