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
from deepsynth.runners.slurm.connection import Connection
from deepsynth.runners.slurm.here import renew, steps_here, steps_there
from deepsynth.runners.slurm.record import Record, new_run_id, read_record, source_folder
from deepsynth.runners.slurm.script import batch_script, shell_path, submit_script
from deepsynth.runners.slurm.site import Site
from deepsynth.runners.slurm.states import Snapshot
from deepsynth.runners.slurm.transfer import Progress, Transfer

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


def run_id_of(run: Run) -> str:
    """The name of the run at its site, whether it was sent already or not."""
    record = read_record(run)
    return record.run_id if record else new_run_id(run)


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
    lines = [f"# site {name}: {site.host or 'Slurm on this machine'}, folder {place(run, site)}"]
    if own := ", ".join(step.name for step in steps_here(site, steps)):
        lines.append(f"# done on this side, since the site has no DeepSynth: {own}")
    steps = steps_there(site, steps)
    if site.host is not None:
        for path in _own_files(run):
            lines.append(f"# send {path.relative_to(run.path)} ({path.stat().st_size} bytes)")
        for source, path in _sources(run, steps):
            size = sum(file.stat().st_size for file in durable.files_below(path))
            lines.append(f"# send {path} to sources/{source}/{path.name} ({size} bytes)")
    for file, text in scripts(run, site, steps).items():
        lines += [f"# ---- slurm/{file}", text]
    return "\n".join(lines)


def place(run: Run, site: Site) -> str:
    """The run's folder at the site; not absolute when the workspace is not."""
    if site.host is None:
        return str(run.path.resolve())
    return f"{site.workspace}/runs/{run_id_of(run)}"


def begin(run: Run, connection: Connection, name: str, site: Site) -> Record:
    """Make the run's folder at the site and remember it; an earlier one is taken up again.

    Raises:
        RunError: The run is at another site.
    """
    record = read_record(run)
    if record is not None:
        if record.site.host != site.host:
            raise RunError(
                f"this run is at the site {record.site_name} ({record.site.host}).",
                where=run.path,
                hint="Go on there, or start a new run from its job.yaml.",
            )
        return record.save(run, site_name=name, site=site)
    folder = place(run, site)
    if site.host is not None:
        where = shell_path(folder)
        folder = connection.check(
            f"mkdir -p {where} && cd {where} && pwd -P", "the workspace cannot be made"
        ).rstrip("\n")
    return Record(name, site, new_run_id(run), folder).save(run)


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
    run: Run,
    record: Record,
    transfer: Transfer,
    steps: Sequence[Step],
    tick: Callable[[], None],
    only: Collection[str] | None = None,
) -> dict[str, str]:
    """Send the run folder and the sources of its steps, or some of these sources only.

    Sources are kept once for all runs, so that only what changed is sent, and are linked into
    the run.

    Returns:
        The digest of each source that was sent, by name.

    Raises:
        DataError: A source is not there.
        ConnectionLost: The connection was cut again and again.
        TransferFailed: Something did not arrive whole.
    """
    sent: dict[str, str] = {}
    if record.site.host is None:
        return sent
    folder, base = record.folder, record.folder.rpartition("/runs/")[0]
    for name, path in _sources(run, steps):
        if only is not None and name not in only:
            continue
        sent[name] = _digest(path)
        kept = f"{base}/sources/{source_folder(path)}"
        target = f"{kept}/{path.name}" if path.is_dir() else kept
        with transfer_shown(run, f"Sending {path.name}", tick) as progress:
            transfer.send(path, target, delete=path.is_dir(), progress=progress)
        into, original = (
            shlex.quote(f"{folder}/sources/{name}"),
            shlex.quote(f"{kept}/{path.name}"),
        )
        transfer.connection.check(
            f"rm -rf {into} && mkdir -p {into} && touch {shlex.quote(kept)} && "
            f"{{ cp -al {original} {into}/ 2>/dev/null || cp -a {original} {into}/; }}",
            "the sources cannot be put into the run",
            timeout=None,
        )
    if only is None:
        with transfer_shown(run, "Sending the run", tick) as progress:
            transfer.send(run.path, folder, exclude=STAYS, progress=progress)
    return sent


def changed_sources(run: Run, record: Record, steps: Sequence[Step]) -> list[str]:
    """The sources that are not what was sent; one that is not on this machine is not looked at."""
    return sorted(
        name
        for name, path in {name: run.source(s, name) for s in steps for name in s.sources}.items()
        if name in record.sources and path.exists() and _digest(path) != record.sources[name]
    )


def send_again(
    run: Run,
    record: Record,
    transfer: Transfer,
    changed: Collection[str],
    tick: Callable[[], None],
) -> Record:
    """Send sources that changed, and undo what was made of the old ones.

    Raises:
        ConnectionLost: The connection was cut again and again.
        TransferFailed: Something did not arrive whole.
    """
    stale: list[Step] = []
    for step in run.plan.steps:
        after = {s.name for s in stale}
        if not after.isdisjoint(step.after) or not step.sources.keys().isdisjoint(changed):
            stale.append(step)
    renew(run, record, transfer.connection, steps_there(record.site, stale))
    every = steps_there(record.site, run.plan.steps)
    sent = send(run, record, transfer, every, tick, only=changed)
    return record.save(run, sources=record.sources | sent, fetched=False)


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


def submit(
    run: Run, record: Record, connection: Connection, steps: Sequence[Step], todo: Todo
) -> None:
    """Write the scripts and run `submit.sh` at the site.

    Raises:
        RemoteError: Slurm refused; nothing of this submission stays in the queue.
    """
    files = scripts(run, record.site, steps, todo)
    here = run.path / "slurm"
    here.mkdir(exist_ok=True)
    for name, text in files.items():
        durable.write_text(here / name, text)
    lines = ["set -e", f"cd {shlex.quote(record.folder)}", "mkdir -p logs slurm steps"]
    if record.site.host is not None:
        # A few kilobytes: sent with the command itself, which saves a connection.
        for name, text in files.items():
            lines.append(f"printf %s {shlex.quote(text)} >slurm/{shlex.quote(name)}")
    connection.check("\n".join([*lines, "bash -l slurm/submit.sh"]), "Slurm refused the job")
    run.event("submitted", site=record.site_name, steps=list(todo))


def _digest(path: Path) -> str:
    return durable.sha256_value(durable.digest(path))


def _own_files(run: Run) -> Iterator[Path]:
    for path in durable.files_below(run.path):
        name = f"/{path.relative_to(run.path).as_posix()}"
        if not any(name == stays or name.startswith(f"{stays}/") for stays in STAYS):
            yield path


def _sources(run: Run, steps: Sequence[Step]) -> Iterator[tuple[str, Path]]:
    for name, path in {name: run.source(s, name) for s in steps for name in s.sources}.items():
        if not path.exists():
            raise DataError(f"the source {name} is not there.", where=path)
        yield name, path
