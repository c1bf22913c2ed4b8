"""A run and its copy at a site, as one value; and `RUN/slurm.json`, which remembers the copy.

With that file, any machine that has the run folder can follow, stop and fetch the run, if the user
knows the site by the same name. What it says comes from wherever the folder comes from, so it is
read strictly, and a site that only the file knows is not believed.
"""

from __future__ import annotations

import hashlib
import shlex
import socket
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError, model_validator

from deepsynth import durable
from deepsynth.errors import RunError
from deepsynth.home import recall, remember
from deepsynth.job.settings import Section
from deepsynth.run import receipts
from deepsynth.run.run import Run
from deepsynth.run.step import Step
from deepsynth.runners.slurm.connection import Connection
from deepsynth.runners.slurm.script import safe_name
from deepsynth.runners.slurm.site import Line, Site
from deepsynth.runners.slurm.transfer import Transfer

FILE = "slurm.json"

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Record(Section):
    """Where a run lies at a site, and what of it is known here."""

    site_name: Line = Field(description="As after `--on`.")
    site: Site = Field(description="Its settings when the run was last submitted.")
    run_id: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$",
        description="Name of the run there; part of its jobs' names.",
    )
    folder: Line = Field(description="Absolute folder there: WORKSPACE/runs/RUN_ID.")
    sent: bool = Field(default=False, description="Whether all that steps need was verified there.")
    sources: dict[str, Digest] = Field(default={}, description="Of each source, when it was sent.")
    events: int = Field(default=0, ge=0, description="Bytes of the events there that are here.")
    fetched: bool = Field(default=False, description="Whether what was made is here, verified.")

    @model_validator(mode="after")
    def _placed(self) -> Record:
        # A run on this machine is its own copy, also after it was moved: its folder says nothing.
        if self.site.host is not None and not is_folder_of(self.run_id, self.folder):
            raise ValueError(f"folder {self.folder} is no WORKSPACE/runs/{self.run_id}")
        return self

    @property
    def origin(self) -> list[Any]:
        """What must be believed before anything is asked of the site."""
        folder = self.folder if self.site.host is not None else ""
        return [self.site.model_dump(exclude_defaults=True), self.run_id, folder]


def is_folder_of(run_id: str, folder: str) -> bool:
    """Whether a run of this name may lie in `folder` of a site: absolute, of plain characters."""
    parts = folder.split("/")
    plain = not {"", ".", ".."} & {*parts[1:]} and folder.isprintable()
    return plain and parts[0] == "" and parts[-2:] == ["runs", run_id]


@dataclass(frozen=True)
class Journey:
    """A run on its way at a site.

    Attributes:
        run: The run here.
        site: The site, as it is known now.
        record: The run there.
        transfer: Copies between the two.
        asked: The steps that are asked for.
    """

    run: Run
    site: Site
    record: Record
    transfer: Transfer
    asked: Sequence[Step]

    @property
    def connection(self) -> Connection:
        """The login shell there."""
        return self.transfer.connection

    @property
    def folder(self) -> str:
        """The run folder there, as a word of shell."""
        return shlex.quote(self.record.folder)

    @cached_property
    def there(self) -> list[Step]:
        """Of all steps of the run, those that are submitted to the site."""
        return [step for step in self.run.plan.steps if self.site.does(step)]

    @cached_property
    def here(self) -> list[Step]:
        """Of all steps of the run, those that are done on this side: DeepSynth is not there."""
        return [step for step in self.run.plan.steps if not self.site.does(step)]

    @cached_property
    def submitted(self) -> list[Step]:
        """Of the steps asked for, those that are submitted to the site."""
        return [step for step in self.asked if self.site.does(step)]

    def with_record(self, **changes: Any) -> Journey:
        """The journey with a changed record, which is written."""
        return replace(self, record=write_record(self.run, self.record, **changes))

    def undo(self, steps: Sequence[Step]) -> Journey:
        """Undo, on both sides, what steps made there of what has changed since.

        Raises:
            ConnectionLost: The site cannot be reached; nothing was undone.
        """
        undone: list[str] = []
        for step in steps:
            for index in range(step.array):
                receipt = receipts.receipt_path(self.run, step, index)
                undone.append(receipt.relative_to(self.run.path).as_posix())
                undone.append(f"steps/{step.name}/outputs-{index}.sha256")
                undone += receipts.outputs_of(step, index)
        self.connection.check(
            f"cd {self.folder} && rm -rf -- {shlex.join(undone)}",
            "what was done there cannot be undone",
        )
        journey = self.with_record(sent=False)
        for name in undone:
            durable.remove(self.run.path / name)
        return journey


def in_turns(site: Site, steps: Sequence[Step]) -> list[tuple[bool, list[Step]]]:
    """Steps in order, as groups of neighbours on the same side: whether there, and which."""
    return [(there, list(group)) for there, group in groupby(steps, site.does)]


def read_record(run: Run) -> Record | None:
    """What `run` says of its copy at a site, or None when it was never sent to one.

    Raises:
        RunError: It says what cannot be.
    """
    told = durable.read_json(run.path / FILE)
    if told is None:
        return None
    try:
        record = Record.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RunError(
            f"{place or 'it'} says what cannot be: {first['msg'].removeprefix('Value error, ')}.",
            where=run.path / FILE,
            hint="The file was damaged, or made to do harm: it is not used.",
        ) from None
    if record.site.host is not None:
        return record
    return record.model_copy(update={"folder": str(run.path.resolve())})


def need_record(run: Run) -> Record:
    """Like `read_record`.

    Raises:
        RunError: The run was never sent to a site, or says what cannot be.
    """
    record = read_record(run)
    if record is None:
        raise RunError(
            "this run was not submitted to a Slurm site.",
            where=run.path,
            hint="Submit it: deepsynth run JOB --on SITE",
        )
    return record


def write_record(run: Run, record: Record, **changes: Any) -> Record:
    """Write the record with `changes`, and return it; that it is ours is remembered."""
    changed = record.model_copy(update=changes)
    plain = changed.model_dump() | {"site": changed.site.model_dump(exclude_defaults=True)}
    durable.write_json(run.path / FILE, plain)
    remember("sites", changed.origin)
    return changed


def is_ours(record: Record, known: Site | None) -> bool:
    """Whether a record may be believed: it was written here, or tells what the user tells, too.

    Args:
        record: Of a run folder that may come from anywhere.
        known: The user's own site of that name.
    """
    return record.site == known or bool(recall("sites", record.origin))


def new_run_id(run: Run) -> str:
    """A name for the run at a site that no other run has: its own, and six digits of its origin."""
    origin = (run.path / "resolved.yaml").read_bytes() + str(run.events()[:1]).encode()
    name = safe_name(run.path.resolve().name)[:120]
    return f"{name}-{hashlib.sha256(origin).hexdigest()[:6]}"


def run_id_of(run: Run) -> str:
    """The name of the run at its site, whether it was sent already or not."""
    record = read_record(run)
    return record.run_id if record else new_run_id(run)


@contextmanager
def record_lock(run: Run) -> Generator[None]:
    """Wait until no other process here updates what is known of the run."""
    with durable.locked(run.path / "slurm.lock"):
        yield


def source_folder(path: Path) -> str:
    """Name, below `sources/` at a site, of what lies at `path` here; shared by all runs."""
    place = f"{socket.gethostname()}:{path.resolve()}"
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def sources_of(run: Run, steps: Sequence[Step]) -> Mapping[str, Path]:
    """Where each source of `steps` is here."""
    return {name: run.source(step, name) for step in steps for name in step.sources}
