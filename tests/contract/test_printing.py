"""Everything that is printed goes through one place, where commands to a terminal are shown."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import deepsynth

SOURCE = Path(deepsynth.__file__).parent
PLACES = ("printing.py", "terminal/console.py", "run/installer.py")
"""The installer lets uv draw its bars itself: what it says of our lock files is not of others."""


def around(path: Path) -> Iterator[str]:
    """What of a module would print by another way."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id="print" | "input"):
                yield f"{path}:{node.lineno}: {node.id}"
            case ast.Attribute(
                attr="write" | "writelines" | "buffer",
                value=ast.Attribute(attr="stdout" | "stderr", value=ast.Name(id="sys")),
            ):
                yield f"{path}:{node.lineno}: sys.{node.value.attr}.{node.attr}"
            case ast.ImportFrom(module="rich" | "rich.console" | "rich.markup" | "rich.prompt"):
                yield f"{path}:{node.lineno}: {node.module}"
            case ast.Call(func=ast.Name(id="TextColumn")) if not any(
                keyword.arg == "markup" for keyword in node.keywords
            ):
                if isinstance(node.args[0], ast.Constant) and "{" in str(node.args[0].value):
                    yield f"{path}:{node.lineno}: TextColumn reads markup"
            case ast.Attribute(attr="from_markup" | "from_ansi" | "print_exception"):
                yield f"{path}:{node.lineno}: {node.attr}"
            case _:
                pass


def test_nothing_is_printed_around_it() -> None:
    others = (p for p in SOURCE.rglob("*.py") if p.relative_to(SOURCE).as_posix() not in PLACES)
    assert [found for path in others for found in around(path)] == []


def test_another_way_would_be_found(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "import sys\nprint(1)\nsys.stdout.write('')\nfrom rich.console import Console"
    )
    assert len(list(around(module))) == 3
