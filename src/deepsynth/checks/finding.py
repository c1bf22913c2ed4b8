"""One finding of a check: how bad, where, what, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any


class Severity(IntEnum):
    """How bad a finding is; higher is worse, so findings sort by it."""

    INFO = 0
    """A measured fact worth reading: counts, lengths, estimates."""
    WARNING = 1
    """The job can run, but the result will probably be worse than it needs to be."""
    ERROR = 2
    """The job would fail, learn nothing, or give a figure that is not true."""


@dataclass(frozen=True)
class Finding:
    """What a check has to say about one thing.

    Attributes:
        severity: See `Severity`.
        code: A short stable name, `area-what`, for scripts and tests: `text-empty`.
        where: File, `file:line`, column, split or setting.
        what: One sentence, with the figures.
        fix: What to do about it; empty for facts that need nothing done.
        examples: At most a handful of places or values that show it.
        measured: It tells a time that was measured, so it is another one in every run: it is kept
            among the events of the run, not in a file that a step makes.
    """

    severity: Severity
    code: str
    where: str
    what: str
    fix: str = ""
    examples: tuple[str, ...] = field(default=())
    measured: bool = field(default=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """The finding as plain data, severity by its lower-case name."""
        entry = {**asdict(self), "severity": self.severity.name.lower()}
        del entry["measured"]
        return entry

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> Finding:
        """The finding that `as_dict` made plain data of."""
        changes: dict[str, Any] = {
            "severity": Severity[entry["severity"].upper()],
            "examples": tuple(entry["examples"]),
        }
        return cls(**(entry | changes))


def worst(findings: Iterable[Finding]) -> Severity:
    """The highest severity among `findings`; `INFO` when there are none."""
    return max((finding.severity for finding in findings), default=Severity.INFO)
