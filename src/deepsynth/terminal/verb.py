"""A verb of the command line that a family or a runner brings, loaded only when it is used."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

from cyclopts import Parameter

if TYPE_CHECKING:
    from cyclopts import App, Group

    from deepsynth.run.run import Run


class Planner(Protocol):
    """Makes a run of a job, planned but not begun; its folder goes when the block ends."""

    def __call__(
        self, job: Path, overrides: Sequence[str] = (), *, name: str | None = None
    ) -> AbstractContextManager[Run]:
        """Plan a job file with its overrides; `name` is that of the run, the job's by default."""
        ...


Planned = Annotated[Planner, Parameter(parse=False)]
"""Type of a parameter `planned` by which a verb that cannot know families gets runs of jobs."""


@dataclass(frozen=True)
class Verb:
    """Where a verb is, and what `deepsynth --help` says of it without loading it.

    Attributes:
        path: Its function, or a cyclopts `App` with verbs below it: `package.module:function`. It
            is called like the function, or by the name of the `App`, which is that of the variable.
        summary: One line for `deepsynth --help`: the first of the function's docstring.
        group: Heading in `deepsynth --help`; one of `terminal.groups`.
    """

    path: str
    summary: str
    group: Group

    def register(self, app: App, *, listed: bool) -> None:
        """Add it to the command line; `listed` where only the list of verbs is wanted."""
        # What is said here stands for the whole docstring: it would hide that of `VERB --help`.
        app.command(self.path, help=self.summary if listed else None, group=self.group)
