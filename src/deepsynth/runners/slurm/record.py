"""What a run folder knows of its copy at a site: `RUN/slurm.json`.

With it, any machine that has the run folder can follow, stop and fetch the run.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.errors import RunError
from deepsynth.run.run import Run
from deepsynth.runners.slurm.script import safe_name
from deepsynth.runners.slurm.site import Site


@dataclass(frozen=True)
class Record:
    """Where a run lies at a site, and what of it is known here.

    Attributes:
        site_name: As after `--on`.
        site: Its settings when the run was first submitted.
        run_id: Name of the run there; part of its jobs' names.
        folder: Absolute folder there.
        sent: Whether everything the steps need has arrived and was verified.
        sources: Digest of each source when it was sent, by name.
        events: Bytes of the events there that are copied here.
        fetched: Whether what the steps made was brought here and verified.
    """

    site_name: str
    site: Site
    run_id: str
    folder: str
    sent: bool = False
    sources: dict[str, str] = field(default_factory=dict[str, str])
    events: int = 0
    fetched: bool = False

    def save(self, run: Run, **changes: Any) -> Record:
        """Write the record with `changes`, and return it."""
        record = replace(self, **changes)
        plain = asdict(record) | {"site": record.site.model_dump(exclude_defaults=True)}
        durable.write_json(run.path / "slurm.json", plain)
        return record


def read_record(run: Run) -> Record | None:
    """The record of `run`, or None when it was never sent to a site."""
    plain = durable.read_json(run.path / "slurm.json")
    if not plain:
        return None
    record = Record(**(plain | {"site": Site.model_validate(plain["site"])}))
    # A run on this machine is its own copy, also after it was moved.
    return record if record.site.host else replace(record, folder=str(run.path.resolve()))


def need_record(run: Run) -> Record:
    """Like `read_record`.

    Raises:
        RunError: The run was never sent to a site.
    """
    record = read_record(run)
    if record is None:
        raise RunError(
            "this run was not submitted to a Slurm site.",
            where=run.path,
            hint="Submit it: deepsynth run JOB --on SITE",
        )
    return record


def new_run_id(run: Run) -> str:
    """A name for the run at a site that no other run has: its own, and six digits of its origin."""
    origin = (run.path / "resolved.yaml").read_bytes() + str(run.events()[:1]).encode()
    return f"{safe_name(run.path.resolve().name)}-{hashlib.sha256(origin).hexdigest()[:6]}"


@contextmanager
def record_lock(run: Run) -> Generator[None]:
    """Wait until no other process here updates what is known of the run."""
    with durable.locked(run.path / "slurm.lock"):
        yield


def source_folder(path: Path) -> str:
    """Name, below `sources/` at a site, of what lies at `path` here; shared by all runs."""
    place = f"{socket.gethostname()}:{path.resolve()}"
    return hashlib.sha256(place.encode()).hexdigest()[:16]
