"""What lies at a site, with sizes and age, and deleting what is safe to delete.

Only compiled data, copies of sources, checkpoints and logs of a run go, and only after what the
run made was verified here, file by file, against the receipts there.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deepsynth.errors import RunError
from deepsynth.run.run import Run, is_run
from deepsynth.runners.slurm.connection import Connection
from deepsynth.runners.slurm.record import read_record
from deepsynth.runners.slurm.runner import attach
from deepsynth.runners.slurm.script import shell_path
from deepsynth.runners.slurm.site import Site

_LIST = r"""
cd {workspace} 2>/dev/null || exit 0
for folder in runs/*/ sources/*/ environments/*/; do
  [ -d "$folder" ] || continue
  printf '%s\t%s\t%s\t%s\n' "$(du -sk "$folder" | cut -f 1)" \
    "$(($(date +%s) - $(stat -c %Y "$folder")))" "$folder" \
    "$(ls "$folder" | head -n 1)"
done
"""


@dataclass(frozen=True)
class Kept:
    """A folder at a site.

    Attributes:
        name: Relative to the workspace: `runs/letters-3fa2b1`.
        bytes: What it holds.
        age: Seconds since it last changed.
        holds: The name of the first thing in it, which tells a source's name.
        run: The run folder here that it belongs to, if one was found.
    """

    name: str
    bytes: int
    age: int
    holds: str
    run: Path | None = None


def list_site(site: Site, runs: Iterable[Path] = ()) -> list[Kept]:
    """The folders in a site's workspace, largest first.

    Args:
        site: The site.
        runs: Run folders here, to be told which of those there belong to them.
    """
    known: dict[str, Path] = {}
    for path in runs:
        record = read_record(Run(path)) if is_run(path) else None
        if record is not None and record.site.host == site.host:
            known[f"runs/{record.run_id}"] = path
    text = Connection(site.host).check(
        _LIST.format(workspace=shell_path(site.workspace)),
        "the workspace cannot be read",
        timeout=None,
    )
    kept: list[Kept] = []
    for line in text.splitlines():
        if line.count("\t") == 3:
            size, age, name, holds = line.split("\t")
            name = name.rstrip("/")
            kept.append(Kept(name, int(size) * 1024, max(0, int(age)), holds, known.get(name)))
    return sorted(kept, key=lambda one: -one.bytes)


def clean_run(run: Run) -> int:
    """Fetch and verify a run once more, then delete its compiled data and logs at the site.

    What stays there: model, evaluation, receipts and scripts.

    Returns:
        Bytes that were freed; sources shared with other runs count for nothing.

    Raises:
        RunError: It is not done there, or it runs on this machine.
        TransferFailed: The copy here is not whole; nothing was deleted.
    """
    runner = attach(run)
    record = read_record(run)
    if record is None or record.site.host is None:
        raise RunError("it lies on this machine only; nothing is deleted.", where=run.path)
    snapshot = runner.status(run)
    if not snapshot.done():
        raise RunError(
            "it is not done there, so nothing is deleted.",
            where=run.path,
            hint=f"Go on: deepsynth run --resume {run.path}",
        )
    runner.fetch(run)
    folder = shlex.quote(record.folder)
    # The folder proves to be this run's before anything in it is deleted.
    text = runner.connection.check(
        f"cd {folder} && [ -s slurm/jobs.tsv ] && [ -s plan.json ] || exit 1; "
        "before=$(du -sk . | cut -f 1); rm -rf data sources logs steps/*/work slurm/*.out; "
        "echo $(( (before - $(du -sk . | cut -f 1)) * 1024 ))",
        "nothing was deleted",
    )
    run.event("cleaned", site=runner.name)
    return int(text)


def delete_sources(site: Site, kept: Iterable[Kept]) -> None:
    """Delete copies of sources; the next run that needs one sends it again."""
    names = [one.name for one in kept if one.name.startswith("sources/")]
    if names:
        Connection(site.host).check(
            f"cd {shell_path(site.workspace)} && rm -rf {shlex.join(['--', *names])}",
            "nothing was deleted",
        )
