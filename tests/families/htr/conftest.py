"""Small ground truth made by our own code, and the environment Kraken runs in."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from examples.manuscript.make_pages import demo_font, write_pages

SERIF, ITALIC = "DejaVuSerif", "STIXGeneralItalic"
REAL = [
    Path(folder)
    for folder in os.environ.get("DEEPSYNTH_GROUND_TRUTH", "").split(os.pathsep)
    if folder
]
"""Folders of clean real ground truth, if the environment names some; tests of them skip without."""


@pytest.fixture(scope="session")
def pages_made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pages with four lines each, as PAGE and as ALTO; tests change copies."""
    made = tmp_path_factory.mktemp("pages")
    for form in ("page", "alto"):
        write_pages(made / form, font=demo_font(SERIF), pages=12, seed=1, lines=4, form=form)
    return made


@pytest.fixture
def page_folder(tmp_path: Path, pages_made_once: Path) -> Path:
    """Twelve pages of PAGE XML with four lines each."""
    return shutil.copytree(pages_made_once / "page", tmp_path / "page")


@pytest.fixture
def alto_folder(tmp_path: Path, pages_made_once: Path) -> Path:
    """The same as ALTO."""
    return shutil.copytree(pages_made_once / "alto", tmp_path / "alto")


@pytest.fixture(scope="session")
def kraken(kraken_folder: Path) -> Callable[..., str]:
    """Runs Python in the managed environment."""

    def run(*arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [kraken_folder / "bin" / "python", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    return run
