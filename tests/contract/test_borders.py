"""The page of borders is up to date, its tests exist; nothing installs us by name from an index."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.borders import BORDERS, PAGE, Border, page

ROOT = Path(__file__).resolve().parents[2]
INSTALLS = re.compile(r"\b(?:pip3?|pipx|uvx?|conda|mamba|poetry|pdm)\b")
FOLDERS = ("docs", "src", "examples", "deploy", "scripts", "benchmarks", ".github")
READ = {".md", ".py", ".j2", ".yaml", ".yml", ".sh", ".toml", ".cff", ".ipynb", ""}


def test_the_page_of_borders_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python scripts/trust.py"


@pytest.mark.parametrize("border", BORDERS, ids=lambda border: border.where)
def test_every_border_has_its_test(border: Border) -> None:
    file, _, name = border.test.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def by_name(text: str) -> list[str]:
    """Lines that would fetch us by name from a package index."""
    return [
        line.strip()
        for line in text.splitlines()
        if INSTALLS.search(line) and re.search(r"\b(install|wheel|download|add|uvx|pipx)\b", line)
        and re.search(r"""(?<![\w./-])deepsynth(-studio)?(?=[\[=<>~@"'`\s,;]|$)""", _argument(line))
    ]  # fmt: skip


def _argument(line: str) -> str:
    """What stands after the word that installs: its arguments, up to the end of the command."""
    found = re.search(r"\b(?:install|wheel|download|add|uvx|run)\b(.*)", line)
    return re.split(r"&&|\|\||;|`", found[1])[0] if found else ""


def test_nothing_tells_to_install_us_by_name() -> None:
    below = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    told = [
        f"{path}: {line}"
        for path in [*below, *ROOT.glob("*")]
        if path.suffix in READ and path.is_file()
        for line in by_name(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert told == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("pip install deepsynth", True),
        ("pip install 'deepsynth[flyte,train]'", True),
        ("python -m pip wheel deepsynth==1.0", True),
        ("uv pip install -U deepsynth-studio", True),
        ("pipx run deepsynth", True),
        ("pip install -e '.[train]'", False),
        ("pip install ./deepsynth-1.0.whl && deepsynth doctor", False),
        ("cd deepsynth; pip install .", False),
    ],
)
def test_such_a_line_would_be_found(line: str, told: bool) -> None:
    assert bool(by_name(line)) is told
