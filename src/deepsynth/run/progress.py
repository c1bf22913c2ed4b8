"""Progress: how far a long piece of work is, told as it goes on to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One thing to show.

    Attributes:
        what: The work, or its stage: the name of a source, `upload`.
        note: One line for people.
        done: So much is done; what earlier calls did is part of it.
        total: So much is to do; 0 where nothing is counted, and only the note is told.
        unit: What is counted: `rows`, `bytes`.
        resumed: Of `done`, what an earlier call did: it says nothing about today's speed.
    """

    what: str
    note: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    resumed: int = 0


Report = Callable[[Progress], None]
"""Told of each step of the work; cheap enough to call for every item."""


def silent(_progress: Progress) -> None:
    """A report that shows nothing."""
