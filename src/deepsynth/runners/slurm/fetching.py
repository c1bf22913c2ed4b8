"""What comes back from a site: events, logs, and what steps made, with proof that it is that."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from deepsynth import durable
from deepsynth.run import receipts, records
from deepsynth.run.run import Run
from deepsynth.run.step import Step
from deepsynth.runners.slurm.journey import Journey
from deepsynth.runners.slurm.states import Element, Snapshot
from deepsynth.runners.slurm.transfer import Progress, TransferFailed

TOLERATED_SKEW = 10.0
"""Seconds by which two clocks may differ before it shows in how long things seem to take."""

LOG_SECONDS = 1.0
"""Between two looks at a log that grows."""

OURS = (
    "/sources",
    "/slurm.json",
    "/slurm.lock",
    "/run.lock",
    "/elsewhere.json",
    "/events.jsonl",
    "/job.yaml",
    "/resolved.yaml",
    "/plan.json",
)
"""What of a run folder belongs to this side, or is the same on both."""


def mirror(journey: Journey, snapshot: Snapshot) -> None:
    """Append the events that are new there to those here, and copy the curve if it changed."""
    if not snapshot.events:
        return
    with (journey.run.path / "events.jsonl").open("ab", buffering=0) as stream:
        stream.write(in_our_time(snapshot))
    journey.with_record(events=journey.record.events + len(snapshot.events))
    curve = journey.connection.run(f"cat {journey.folder}/metrics.jsonl 2>/dev/null")
    if curve.stdout:
        whole = curve.stdout[: curve.stdout.rfind("\n") + 1]
        durable.write_text(journey.run.path / "metrics.jsonl", whole)


def in_our_time(snapshot: Snapshot) -> bytes:
    """The new events that are events, told by our clock where the one there is wrong."""
    skew = time.time() - snapshot.clock if snapshot.clock else 0.0
    events = records.events(durable.parse_lines(snapshot.events))
    if abs(skew) >= TOLERATED_SKEW:
        events = [event | {"time": round(event["time"] + skew, 3)} for event in events]
    return "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events).encode()


def step_log(journey: Journey, step: str, goes_on: Callable[[], bool]) -> Iterator[str]:
    """Lines of what a step printed at the site; of its log here once that was fetched.

    Args:
        journey: The run.
        step: Name of the step; of an array, the logs of all its elements are read.
        goes_on: Asked before each look; once it is false, the look that follows is the last.

    Raises:
        ConnectionLost: The site cannot be reached.
    """
    here = journey.run.path / "logs" / f"{step}.log"
    if journey.record.fetched and here.exists():
        yield from here.read_text(encoding="utf-8", errors="replace").splitlines()
        return
    script = (
        f"cd {journey.folder} && {{ cat logs/{step}.log || cat logs/{step}-*.log || "
        f'cat "$(ls -t slurm/{step}-*.out | head -n 1)"; }} 2>/dev/null | tail -n +'
    )
    seen = 0
    while True:
        last = not goes_on()
        *lines, rest = journey.connection.run(f"{script}{seen + 1}").stdout.split("\n")
        seen += len(lines)
        yield from lines
        if last:
            if rest:
                yield rest
            return
        time.sleep(LOG_SECONDS)


def fetch(journey: Journey, *, everything: bool, progress: Progress) -> int:
    """Copy what was made there over what is here, and verify what the receipts name.

    What steps of this side made is not touched.

    Args:
        journey: The run.
        everything: Also what only later steps read.
        progress: Told how far it is.

    Returns:
        Number of files that are here and are what their receipts say.

    Raises:
        TransferFailed: A file differs from its receipt, twice.
    """
    run, folder = journey.run, journey.record.folder
    plain = any(not e.deepsynth for e in journey.site.environments.values())
    left_out = [] if everything or plain else intermediate(run)
    exclude = [*OURS, *(f"/steps/{step.name}/work" for step in run.plan.steps)]
    for step in journey.here:
        exclude += [f"/steps/{step.name}", f"/logs/{step.name}.log"]
        exclude += [f"/{output}" for output in step.outputs]
    exclude += [f"/{name}" for name in left_out]
    wrong: list[str] = []
    count = 0
    for _ in range(2):
        for name in wrong:
            (run.path / name).unlink(missing_ok=True)
        journey.transfer.fetch(folder, run.path, exclude=exclude, progress=progress)
        wrong, count = _verify(journey, left_out)
        if not wrong:
            return count
    raise TransferFailed(
        f"{len(wrong)} files are not what their receipts say, the first {wrong[0]}.",
        where=f"{journey.site.host}:{folder}",
        hint="They were changed there after the step ended; do the step again: "
        f"deepsynth run --resume {run.path}",
    )


def intermediate(run: Run) -> list[str]:
    """Outputs below `data/` that later steps read: large, and of no use after training."""
    read = {name for step in run.plan.steps for name in step.inputs}
    return [
        output
        for step in run.plan.steps
        for output in step.outputs
        if output.split("/")[0] == "data"
        and any(output == name or output.startswith(f"{name}/") for name in read)
    ]


def reconcile(journey: Journey, snapshot: Snapshot) -> None:
    """Write the receipts of steps done by a site's own programs, which leave none themselves.

    The batch script listed what they made with sha256; only what is here and the same counts.

    Raises:
        TransferFailed: A file here is not the one that was made there.
    """
    run = journey.run
    for step in journey.there:
        for element in snapshot.of(step.name):
            proof = run.path / "steps" / step.name / f"outputs-{element.index}.sha256"
            written = receipts.receipt_path(run, step, element.index)
            if element.kind != "done" or written.exists() or not proof.is_file():
                continue
            for name, digest in _read_proof(proof):
                path = _inside(run, name, step)
                if not path.is_file() or durable.sha256_file(path) != digest:
                    raise TransferFailed(
                        f"{name} is not the file that step {step.name} made.",
                        where=run.path,
                        hint="Fetch it again: deepsynth fetch " + str(run.path),
                    )
            key = receipts.step_key(run, step)
            receipts.write_receipt(run, step, key, time.time(), element.index)
            run.event(
                "step_done", step=step.name, index=element.index, seconds=_seconds(run, element)
            )


def _seconds(run: Run, element: Element) -> float:
    """How long the last allocation of a plain step took, as its batch script counted."""
    mark = run.path / "slurm" / f"{element.step}-{element.index}.end"
    words = mark.read_text(encoding="utf-8").split() if mark.is_file() else []
    return float(words[5]) if len(words) > 5 and words[5].isdigit() else 0.0


def _verify(journey: Journey, left_out: Sequence[str]) -> tuple[list[str], int]:
    run, wrong, count = journey.run, list[str](), 0
    for step in journey.there:
        for index in range(step.array):
            receipt = receipts.read_receipt(run, step, index)
            for output, files in (receipt or {}).get("outputs", {}).items():
                if output in left_out:
                    continue
                base = PurePosixPath(output)
                base = base if (run.path / output).is_dir() else base.parent
                for name, entry in files.items():
                    path = _inside(run, f"{base}/{name}", step)
                    count += 1
                    if not path.is_file() or durable.sha256_file(path) != entry["sha256"]:
                        wrong.append(path.relative_to(run.path).as_posix())
    return wrong, count


def _inside(run: Run, name: str, step: Step) -> Path:
    """Where a file lies that a receipt or a list of a step names.

    Raises:
        TransferFailed: It is outside of the run folder.
    """
    path = Path(os.path.normpath(run.path / name))
    if not path.is_relative_to(os.path.normpath(run.path)):
        raise TransferFailed(f"a file outside of the run is named: {name}", where=step.name)
    return run.path / path.relative_to(os.path.normpath(run.path))


def _read_proof(proof: Path) -> list[tuple[str, str]]:
    """The file names and sha256 of a list `sha256sum` wrote."""
    pairs = (line.partition("  ") for line in proof.read_text(encoding="utf-8").splitlines())
    return [(name, digest) for digest, _, name in pairs]
