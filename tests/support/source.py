"""What the source says of itself: its texts, what its modules import, the circles this makes."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path


@cache
def texts(path: Path) -> list[tuple[int, str]]:
    """The texts in a file that are not docstrings, with their lines."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if id(node) not in docstrings
    ]


def graph(source: Path, package: str) -> dict[str, set[str]]:
    """For every module of a package, which of its modules it imports, wherever in its text.

    Imports within functions count; those for the type checker alone do not, nor what a
    module imports when it is run as a program. Importing a name from
    a package counts for the module that has this name, if there is one.

    Args:
        source: Folder of the package.
        package: Its name.
    """
    files = {_name(path, source, package): path for path in source.rglob("*.py")}
    return {
        name: {found for target in imports(path) if (found := _module(target, files))} - {name}
        for name, path in files.items()
    }


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports: `a.b` of `import a.b`, `a.b.c` of `from a.b import c`."""
    yield from _imports(ast.parse(path.read_text()).body)


def _imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "imports name the whole module"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and _is_main(node.test):
            continue
        elif isinstance(node, ast.If) and _is_for_types(node.test):
            yield from _imports(node.orelse)
        else:
            yield from _imports(ast.iter_child_nodes(node))


def _is_main(test: ast.expr) -> bool:
    return ast.unparse(test) == "__name__ == '__main__'"


def _is_for_types(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _module(target: str, files: Mapping[str, Path]) -> str | None:
    while target and target not in files:
        target = target.rpartition(".")[0]
    return target or None


def _name(path: Path, source: Path, package: str) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join((package, *(part for part in parts if part != "__init__")))


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or not (Tarjan, 1972)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in graph[name]:
            if other not in number:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], number[other])
        if lowest[name] == number[name]:
            group = [stack.pop()]
            while group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in number:
            visit(name)
    return sorted(found)
