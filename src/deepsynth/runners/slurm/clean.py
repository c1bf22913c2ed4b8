"""The verb `clean`: what lies at a site, with sizes and age, and deleting what is safe to delete.

Only compiled data, copies of sources, checkpoints and logs of a run go, and only after what the
run made was verified here, file by file, against the receipts there.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from deepsynth.errors import RunError
from deepsynth.printing import say
from deepsynth.run.run import Run, is_run
from deepsynth.runners.slurm.connection import Connection
from deepsynth.runners.slurm.journey import read_record
from deepsynth.runners.slurm.runner import SlurmRunner, create
from deepsynth.runners.slurm.script import shell_path
from deepsynth.runners.slurm.site import Site

_LIST = r"""
cd {workspace} 2>/dev/null || exit 0
for folder in runs/*/ sources/*/ environments/*/ wheels/*/; do
  [ -d "$folder" ] || continue
  printf '%s\t%s\t%s\t%s\n' "$(du -sk "$folder" | cut -f 1)" \
    "$(($(date +%s) - $(stat -c %Y "$folder")))" "$folder" \
    "$(ls "$folder" | head -n 1)"
done
"""


On = Annotated[str, Parameter(help="A site of sites.yaml.")]


def clean(
    *run: Annotated[Path, Parameter(help="Runs whose compiled data and logs go there.")],
    on: On,
    runs: Annotated[Path, Parameter(help="Folder of the runs here.")] = Path("runs"),
    sources: Annotated[
        bool, Parameter(help="Delete the copies of sources there.", negative=())
    ] = False,
) -> int:
    """List what lies at a site, or delete what is not needed there any more.

    A run's compiled data and logs are deleted only after what it made was fetched and verified.

    For example:

    ```
    deepsynth clean --on hpc
    deepsynth clean runs/letters --on hpc
    ```
    """
    runner = create(on)
    site = runner.site
    for path in run:
        freed = clean_run(runner, Run.open(path)) / 1e6
        say(f"{path}: fetched and verified; {freed:.1f} MB freed there.")
    kept = list_site(site, sorted(runs.glob("*")))
    if sources:
        delete_sources(site, kept)
        kept = [one for one in kept if not one.name.startswith("sources/")]
    for one in kept:
        belongs = f"  {one.run}" if one.run else f"  {one.holds}" * one.name.startswith("sources/")
        say(f"{one.bytes / 1e6:10.1f} MB  {one.age / 86400:5.1f} days  {one.name}{belongs}")
    total = sum(one.bytes for one in kept)
    say(f"{total / 1e6:10.1f} MB in all, in {site.workspace}")
    return 0


_ENTRY = re.compile(
    r"(\d+)\t(-?\d+)\t((?:runs|sources|environments|wheels)/[^/\x00-\x1f\x7f]+)/\t(.*)"
)


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
        with suppress(RunError):  # a run that cannot be read is nobody's here
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
        if found := _ENTRY.fullmatch(line):
            size, age, name, holds = found.groups()
            holds = "".join(filter(str.isprintable, holds))
            kept.append(Kept(name, int(size) * 1024, max(0, int(age)), holds, known.get(name)))
    return sorted(kept, key=lambda one: -one.bytes)


def clean_run(runner: SlurmRunner, run: Run) -> int:
    """Fetch and verify a run once more, then delete its compiled data and logs at the site.

    What stays there: model, evaluation, receipts and scripts.

    Returns:
        Bytes that were freed; sources shared with other runs count for nothing.

    Raises:
        RunError: It is not done there, or it runs on this machine.
        TransferFailed: The copy here is not whole; nothing was deleted.
    """
    if runner.site.host is None:
        raise RunError("it lies on this machine only; nothing is deleted.", where=run.path)
    snapshot = runner.status(run)
    if not snapshot.done():
        raise RunError(
            "it is not done there, so nothing is deleted.",
            where=run.path,
            hint=f"Go on: deepsynth run --resume {run.path}",
        )
    runner.fetch(run)
    # The folder proves to be this run's before anything in it is deleted.
    text = runner.connection.check(
        f"cd {runner.journey(run).folder} && [ -s slurm/jobs.tsv ] && [ -s plan.json ] || exit 1; "
        "before=$(du -sk . | cut -f 1); rm -rf data sources logs steps/*/work slurm/*.out; "
        "echo $(( (before - $(du -sk . | cut -f 1)) * 1024 ))",
        "nothing was deleted",
    )
    run.event("cleaned", site=runner.name)
    return int(text) if text.strip().isdigit() else 0


def delete_sources(site: Site, kept: Iterable[Kept]) -> None:
    """Delete copies of sources; the next run that needs one sends it again."""
    names = [one.name for one in kept if one.name.startswith("sources/")]
    if names:
        Connection(site.host).check(
            f"cd {shell_path(site.workspace)} && rm -rf {shlex.join(['--', *names])}",
            "nothing was deleted",
        )
