"""Small ground truth made by our own code, and the environment Kraken runs in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deepsynth.families.htr.synthetic import demo_font, write_pages

SERIF, ITALIC = "DejaVuSerif", "STIXGeneralItalic"
SHARED = Path(__file__).parents[4] / "shared" / "data" / "htr"
"""Real ground truth, used where it happens to be; tests that want it skip without."""


@pytest.fixture
def page_folder(tmp_path: Path) -> Path:
    """Twelve pages of PAGE XML with four lines each."""
    folder = tmp_path / "page"
    write_pages(folder, font=demo_font(SERIF), pages=12, seed=1, lines=4)
    return folder


@pytest.fixture
def alto_folder(tmp_path: Path) -> Path:
    """The same as ALTO."""
    folder = tmp_path / "alto"
    write_pages(folder, font=demo_font(SERIF), pages=12, seed=1, lines=4, form="alto")
    return folder


@pytest.fixture(scope="session")
def kraken() -> Callable[..., str]:
    """Runs Python in the managed environment, which is built once if it is not there."""
    from deepsynth.families.htr.environment import setup_htr

    environment = setup_htr()

    def run(*arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [environment.python, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    return run
