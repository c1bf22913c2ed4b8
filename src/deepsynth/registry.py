"""Kinds of things by name: ours by a line in their room, those from outside by an entry point."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from deepsynth.errors import MissingDependency

T = TypeVar("T")


class Registry(Generic[T]):
    """What exists of one kind, loaded when it is asked for.

    Args:
        group: Group of entry points by which packages from outside add theirs.
        kind: Type of what is registered; it has a `name`.
        ours: `package.module:attribute` of each of ours, by name, in the order they are shown.
    """

    def __init__(self, group: str, kind: type[T], ours: Mapping[str, str]) -> None:
        self.group, self.kind, self.ours = group, kind, ours

    def __iter__(self) -> Iterator[str]:
        """Every name; those from outside last."""
        yield from self.ours
        yield from self._from_outside()

    def __contains__(self, name: object) -> bool:
        return name in self.ours or name in self._from_outside()

    def get(self, name: str) -> T:
        """What is called `name`.

        Raises:
            KeyError: There is nothing of that name.
            MissingDependency: It comes from outside and cannot be loaded.
        """
        if name in self.ours:
            module, _, attribute = self.ours[name].partition(":")
            return getattr(import_module(module), attribute)
        point = self._from_outside()[name]
        package = point.dist.name if point.dist else point.value
        remedy = f"pip install --upgrade {package}, or pip uninstall {package}"
        try:
            found: Any = point.load()
        except Exception as error:
            raise MissingDependency(
                f"{name} cannot be loaded: {type(error).__name__}: {error}",
                where=f"{self.group} of {package}",
                hint=f"Mend or remove it: {remedy}",
            ) from error
        if not isinstance(found, self.kind) or getattr(found, "name", None) != name:
            raise MissingDependency(
                f"{point.value} is no {self.kind.__name__} called {name}.",
                where=f"{self.group} of {package}",
                hint=f"Mend or remove it: {remedy}",
            )
        return found

    def loadable(self) -> Iterator[T]:
        """All that can be loaded."""
        yield from (one for one in map(self._try, self) if not isinstance(one, MissingDependency))

    def broken(self) -> Iterator[MissingDependency]:
        """Why each of the others cannot be."""
        yield from (one for one in map(self._try, self) if isinstance(one, MissingDependency))

    def _try(self, name: str) -> T | MissingDependency:
        try:
            return self.get(name)
        except MissingDependency as error:
            return error

    def _from_outside(self) -> dict[str, EntryPoint]:
        found = _installed(self.group, tuple(sys.path))
        return {name: point for name, point in found.items() if name not in self.ours}


@cache
def _installed(group: str, path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """The entry points of a group by name; looking for them reads into every installed package."""
    return {point.name: point for point in sorted(entry_points(group=group))}
