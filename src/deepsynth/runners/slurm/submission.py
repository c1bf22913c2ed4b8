"""Sending a run to a site and submitting what of it is not done."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from deepsynth import durable
from deepsynth.errors import DataError, RunError
from deepsynth.run.run import Run
from deepsynth.run.step import Step
from deepsynth.runners.slurm.connection import Connection, RemoteError
from deepsynth.runners.slurm.journey import (
    Journey,
    Record,
    is_folder_of,
    new_run_id,
    read_record,
    run_id_of,
    source_folder,
    sources_of,
    write_record,
)
from deepsynth.runners.slurm.script import batch_script, shell_path, submit_script
from deepsynth.runners.slurm.site import Site
from deepsynth.runners.slurm.states import Snapshot
from deepsynth.runners.slurm.transfer import Progress

STAYS = (
    "/sources",
    "/slurm",
    "/slurm.json",
    "/slurm.lock",
    "/run.lock",
    "/logs",
    "/elsewhere.json",
    "/events.jsonl",
    "/metrics.jsonl",
    "/report.html",
)
"""What of a run folder is not sent: it belongs to one side, or is sent on its own."""

SHORT_SECONDS = 1.0
"""A transfer that takes less is not shown."""

Todo = Mapping[str, Sequence[int] | None]
"""Steps to submit; the elements that are missing, or None for all of a step."""


def scripts(
    run: Run, site: Site, steps: Sequence[Step], todo: Todo | None = None
) -> dict[str, str]:
    """The text of every file in `slurm/` of the run at the site, by name.

    Raises:
        KeyError: A command line has a placeholder that is not known.
    """
    run_id = run_id_of(run)
    files = {f"{step.name}.sbatch": batch_script(step, site, run_id) for step in steps}
    todo = {step.name: None for step in steps} if todo is None else todo
    return files | {"submit.sh": submit_script(run.plan, todo, run_id)}


def dry_run(run: Run, name: str, site: Site, steps: Sequence[Step]) -> str:
    """The files that would be sent and the exact text of each script; contacts nobody."""
    own = str(run.path.resolve())
    folder = own if site.host is None else f"{site.workspace}/runs/{run_id_of(run)}"
    lines = [f"# site {name}: {site.host or 'Slurm on this machine'}, folder {folder}"]
    if here := ", ".join(step.name for step in steps if not site.does(step)):
        lines.append(f"# done on this side, since the site has no DeepSynth: {here}")
    there = [step for step in steps if site.does(step)]
    if gpus := site.gpus_in_words(there):
        lines.append(f"# {gpus}")
    if site.host is not None:
        for path in _own_files(run):
            lines.append(f"# send {path.relative_to(run.path)} ({path.stat().st_size} bytes)")
        for source, path in _sources(run, there):
            size = sum(file.stat().st_size for file in durable.files_below(path))
            lines.append(f"# send {path} to sources/{source}/{path.name} ({size} bytes)")
    for file, text in scripts(run, site, there).items():
        lines += [f"# ---- slurm/{file}", text]
    return "\n".join(lines)


def begin(run: Run, name: str, site: Site, connection: Connection) -> Record:
    """Make the run's folder at the site and remember it; an earlier one is taken up again.

    Raises:
        RunError: The run is at another site.
        RemoteError: The workspace cannot be made.
    """
    record = read_record(run)
    if record is not None:
        refuse_other_site(run, record, site)
        return write_record(run, record, site_name=name, site=site)
    run_id, folder = new_run_id(run), str(run.path.resolve())
    if site.host is not None:
        # What is made there is for its user alone.
        workspace = shell_path(site.workspace)
        script = f"umask 077; mkdir -p {workspace}/runs/{run_id} && cd {workspace} && pwd -P"
        told = connection.check(script, "the workspace cannot be made").removesuffix("\n")
        folder = f"{told}/runs/{run_id}"
        if not is_folder_of(run_id, folder):
            raise RemoteError(
                f"the workspace is said to be {told!r}, which is no absolute folder.",
                where=connection.name,
                hint="Give `workspace` in sites.yaml as an absolute path.",
            )
    fresh = Record(site_name=name, site=site, run_id=run_id, folder=folder)
    return write_record(run, fresh)


def refuse_other_site(run: Run, record: Record, site: Site) -> None:
    """See that a run is at this site.

    Raises:
        RunError: It is at another one.
    """
    if record.site.host != site.host:
        raise RunError(
            f"this run is at the site {record.site_name} ({record.site.host}).",
            where=run.path,
            hint="Go on there, or start a new run from its job.yaml.",
        )


def missing(snapshot: Snapshot, steps: Sequence[Step]) -> Todo:
    """What of `steps` to submit, with the active steps they wait for; empty when nothing is left.

    An array of which some elements failed while others are still active is left alone, with what
    comes after it: its failed elements are submitted once the others have ended.
    """
    todo: dict[str, Sequence[int] | None] = {}
    left_alone: set[str] = set()
    fresh = False
    for step in steps:
        elements = snapshot.of(step.name)
        absent = [e.index for e in elements if e.kind in ("new", "failed")]
        active = any(e.kind in ("waiting", "running") for e in elements)
        if (active and absent) or not left_alone.isdisjoint(step.after):
            left_alone.add(step.name)
        elif absent or active:
            todo[step.name] = None if len(absent) in (0, step.array) else absent
            fresh = fresh or bool(absent)
    return todo if fresh else {}


def send(
    journey: Journey, tick: Callable[[], None], only: Collection[str] | None = None
) -> dict[str, str]:
    """Send the run folder and the sources of its steps, or some of these sources only.

    Sources are kept once for all runs, so that only what changed is sent, and are linked into
    the run.

    Returns:
        The digest of each source that was sent, by name.

    Raises:
        DataError: A source is not there, or a name in it cannot be sent.
        ConnectionLost: The connection was cut again and again.
        TransferFailed: Something did not arrive whole.
    """
    run, sent = journey.run, dict[str, str]()
    if journey.site.host is None:
        return sent
    folder = journey.record.folder
    base = folder.removesuffix(f"/runs/{journey.record.run_id}")
    for name, path in _sources(run, journey.there):
        if only is not None and name not in only:
            continue
        sent[name] = _digest(path)
        kept = f"{base}/sources/{source_folder(path)}"
        target = f"{kept}/{path.name}" if path.is_dir() else kept
        with transfer_shown(run, f"Sending {path.name}", tick) as progress:
            journey.transfer.send(path, target, delete=path.is_dir(), progress=progress)
        into = shlex.quote(f"{folder}/sources/{name}")
        original = shlex.quote(f"{kept}/{path.name}")
        journey.connection.check(
            f"umask 077; rm -rf {into} && mkdir -p {into} && touch {shlex.quote(kept)} && "
            f"{{ cp -al {original} {into}/ 2>/dev/null || cp -a {original} {into}/; }}",
            "the sources cannot be put into the run",
            timeout=None,
        )
    if only is None:
        with transfer_shown(run, "Sending the run", tick) as progress:
            journey.transfer.send(run.path, folder, exclude=STAYS, progress=progress)
    return sent


def changed_sources(journey: Journey) -> list[str]:
    """The sources that are not what was sent; one that is not on this machine is not looked at."""
    known = journey.record.sources
    found = sources_of(journey.run, journey.there).items()
    return sorted(n for n, p in found if n in known and p.exists() and _digest(p) != known[n])


def send_again(journey: Journey, changed: Collection[str], tick: Callable[[], None]) -> Journey:
    """Send sources that changed, and undo what was made of the old ones.

    Raises:
        ConnectionLost: The connection was cut again and again.
        TransferFailed: Something did not arrive whole.
    """
    stale: list[Step] = []
    for step in journey.run.plan.steps:
        after = {s.name for s in stale}
        if not after.isdisjoint(step.after) or not step.sources.keys().isdisjoint(changed):
            stale.append(step)
    journey = journey.undo([step for step in stale if step in journey.there])
    sent = send(journey, tick, only=changed)
    return journey.with_record(sent=True, sources=journey.record.sources | sent, fetched=False)


@contextmanager
def transfer_shown(run: Run, title: str, tick: Callable[[], None]) -> Generator[Progress]:
    """Record how far a transfer is, as displays of a run show it; a short one goes unmentioned."""
    started = time.monotonic()
    begun = False

    def progress(percent: int, rate: str) -> None:
        nonlocal begun
        if not begun and time.monotonic() - started > SHORT_SECONDS:
            begun = True
            run.event("step_started", step=title, index=0)
        if begun:
            run.progress(title, percent, 100, "%", rate)
        tick()

    yield progress
    if begun:
        seconds = round(time.monotonic() - started, 3)
        run.event("step_done", step=title, index=0, seconds=seconds)
        tick()


def submit(journey: Journey, todo: Todo) -> None:
    """Write the scripts and run `submit.sh` at the site.

    Raises:
        RemoteError: Slurm refused; nothing of this submission stays in the queue.
    """
    run = journey.run
    files = scripts(run, journey.site, journey.submitted, todo)
    here = run.path / "slurm"
    here.mkdir(exist_ok=True)
    for name, text in files.items():
        durable.write_text(here / name, text)
    lines = ["set -e", "umask 077", f"cd {journey.folder}", "mkdir -p logs slurm steps"]
    if journey.site.host is not None:
        # A few kilobytes: sent with the command itself, which saves a connection.
        for name, text in files.items():
            lines.append(f"printf %s {shlex.quote(text)} >slurm/{shlex.quote(name)}")
    script = "\n".join([*lines, "bash -l slurm/submit.sh"])
    journey.connection.check(script, "Slurm refused the job")
    run.event("submitted", site=journey.record.site_name, steps=list(todo))


def _digest(path: Path) -> str:
    return durable.sha256_value(durable.digest(path))


def _own_files(run: Run) -> Iterator[Path]:
    for path in durable.files_below(run.path):
        name = f"/{path.relative_to(run.path).as_posix()}"
        if not any(name == stays or name.startswith(f"{stays}/") for stays in STAYS):
            yield path


def _sources(run: Run, steps: Sequence[Step]) -> Iterator[tuple[str, Path]]:
    for name, path in sources_of(run, steps).items():
        if not path.exists():
            raise DataError(f"the source {name} is not there.", where=path)
        yield name, path
