"""The documentation says what is true: its commands run, its links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from deepsynth import __version__
from tests.support.tickets import deepsynth

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def type_in(line: str, folder: Path, environment: dict[str, str]) -> CompletedProcess[str]:
    """Do what a shell does with a line; `deepsynth` is forked from a warm process."""
    if not line.startswith("deepsynth "):
        shell = ["bash", "-c", line]
        return subprocess.run(
            shell, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    line, _, target = line.partition(" > ")
    done = deepsynth(*shlex.split(line)[1:], cwd=folder)
    if target:
        (folder / target).write_text(done.stdout, encoding="utf-8")
    return done


@pytest.mark.slow
@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.thorough), 4])
def test_every_command_of_the_tutorial_runs(tmp_path: Path, every: int) -> None:
    """With every fourth of its tickets, or all of them."""
    table = (ROOT / "examples" / "tickets" / "tickets.csv").read_text(encoding="utf-8")
    head, *rows = table.splitlines(keepends=True)
    examples, work = tmp_path / "examples", tmp_path / "work"
    (examples / "tickets").mkdir(parents=True)
    (examples / "tickets" / "tickets.csv").write_text(
        head + "".join(rows[::every]), encoding="utf-8"
    )
    work.mkdir()
    shown = commands(ROOT / "docs" / "tutorial.md")
    assert len(shown) >= 8
    for command in shown:
        done = type_in(command, work, os.environ | {"EXAMPLES": str(examples)})
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert (work / "runs" / "first" / "report.html").stat().st_size > 50_000
    assert len((work / "sorted.jsonl").read_text().splitlines()) == 980 // every


def test_the_command_is_installed() -> None:
    command = Path(sys.executable).with_name("deepsynth")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == __version__


def test_both_tutorials_show_the_same_work() -> None:
    def verbs(name: str) -> list[str]:
        found = commands(ROOT / "docs" / name)
        return [line.split()[1] for line in found if line.startswith("deepsynth")]

    english = verbs("tutorial.md")
    assert english
    assert set(verbs("tutorial.fr.md")) <= set(english)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_generated_reference_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/reference.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
