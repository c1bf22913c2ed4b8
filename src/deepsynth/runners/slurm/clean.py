"""The verb `clean`: what lies at a site, with sizes and age, and deleting what is safe to delete.

Only compiled data, copies of sources, checkpoints and logs of a run go, and only after what the
run made was verified here, file by file, against the receipts there.
"""

from __future__ import annotations

import re
import shlex
import sys
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
    force: Annotated[
        bool,
        Parameter(
            help="Delete all of the runs there, also what failed or was abandoned; asks first.",
            negative=(),
        ),
    ] = False,
) -> int:
    """List what lies at a site, or delete what is not needed there any more.

    A run's compiled data and logs are deleted only after what it made was fetched and verified.
    With `--force` a run goes as it is, after a question that says what is lost; a run that has no
    folder here is named as it is listed.

    For example:

    ```
    deepsynth clean --on hpc
    deepsynth clean runs/letters --on hpc
    deepsynth clean runs/letters-3fa2b1 --on hpc --force
    ```
    """
    runner = create(on)
    site = runner.site
    for path in run:
        if force:
            delete_run(runner, path)
            continue
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


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
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


_LOOK = r"""
cd {workspace}/runs/{name} 2>/dev/null || exit 66
case $(squeue -h -u "$(id -un)" -o '%j' | grep -c '^{name}\.') in 0) ;; *) echo busy; exit 0 ;; esac
echo "size $(du -sm . | cut -f 1)"
for f in steps/*/receipt*.json steps/*/outputs-*.sha256; do
  [ -f "$f" ] && echo "done $(basename "$(dirname "$f")")"
done
find steps -path 'steps/*/work/*' -type f -print -quit | sed 's/.*/checkpoint/'
true
"""


def delete_run(runner: SlurmRunner, path: Path) -> bool:
    """Delete a run at the site as it is, if the user says so after hearing what is lost.

    Args:
        runner: Of the site.
        path: The run folder here, or `runs/NAME` as the list calls one that has none.

    Raises:
        RunError: It is not there, something of it waits or runs, or it runs on this machine.
    """
    site = runner.site
    if site.host is None:
        raise RunError("it lies on this machine only; nothing is deleted.", where=path)
    run = Run.open(path) if is_run(path) else None
    name = runner.journey(run).record.run_id if run else path.name
    if not _NAME.fullmatch(name):
        raise RunError("a run there has no such name.", where=path)
    workspace = shell_path(site.workspace)
    told = runner.connection.run(_LOOK.format(workspace=workspace, name=name))
    if told.code != 0:
        raise RunError(f"there is no runs/{name} at {runner.name}.", where=path)
    lines = told.stdout.splitlines()
    if "busy" in lines:
        raise RunError(
            "something of it waits or runs there, so nothing is deleted.",
            where=path,
            hint=f"End it first: deepsynth stop {path} --on {runner.name}",
        )
    size = next((line.split()[1] for line in lines if line.startswith("size ")), "?")
    done = sorted({line.split()[1] for line in lines if line.startswith("done ")})
    lost = [f"what {', '.join(done)} made, where it was not fetched"] if done else []
    lost += ["the checkpoints of a training"] if "checkpoint" in lines else []
    all_lost = " and ".join(lost or ["nothing that was made"])
    say(f"runs/{name} at {runner.name}: {size} MB. Lost is {all_lost}.")
    say("Delete it there? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes", "o", "oui"):
        say("It stays.")
        return False
    runner.connection.check(f"rm -rf {workspace}/runs/{name}", "it was not deleted whole")
    if run:
        runner.journey(run).with_record(sent=False, fetched=False, events=0)
        run.event("cleaned", site=runner.name)
    say(f"runs/{name}: deleted there.")
    return True


def delete_sources(site: Site, kept: Iterable[Kept]) -> None:
    """Delete copies of sources; the next run that needs one sends it again."""
    names = [one.name for one in kept if one.name.startswith("sources/")]
    if names:
        Connection(site.host).check(
            f"cd {shell_path(site.workspace)} && rm -rf {shlex.join(['--', *names])}",
            "nothing was deleted",
        )
