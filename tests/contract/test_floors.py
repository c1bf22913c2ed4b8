"""No module imports itself, however far around; a room rests only on those below it."""

from __future__ import annotations

from pathlib import Path

import pytest

import deepsynth
from tests.support.source import circles, graph

SOURCE = Path(deepsynth.__file__).parent
FLOORS = (
    ("__init__", "errors", "duration", "processors"),
    ("durable", "registry", "parquet", "printing"),
    ("home",),
    ("storage",),
    ("job",),
    ("run",),
    ("checks",),
    ("report", "training", "evaluation", "terminal"),
    ("hub", "images"),
    ("data",),
    ("pages",),
    ("families",),
    ("runners",),
    ("verbs", "ui"),
    ("cli",),
)
"""From the ground up; docs/architecture.md says what each room is for."""
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room(module: str) -> str:
    return [*module.split("."), "__init__"][1]


@pytest.fixture(scope="module")
def imported() -> dict[str, set[str]]:
    return graph(SOURCE, "deepsynth")


def test_no_module_imports_itself_around_others(imported: dict[str, set[str]]) -> None:
    assert circles(imported) == []


def test_a_circle_would_be_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == [["b", "c"]]


def test_a_room_rests_only_on_those_below_it(imported: dict[str, set[str]]) -> None:
    assert {room(module) for module in imported} <= FLOOR.keys(), "give the new room a floor"
    upward = {
        (module, other)
        for module, others in imported.items()
        for other in others
        if room(other) != room(module) and FLOOR[room(other)] >= FLOOR[room(module)]
    }
    assert upward == set()
