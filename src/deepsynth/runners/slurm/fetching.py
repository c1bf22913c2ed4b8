"""Bringing back what steps made at a site, with the proof that it is what they made."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from deepsynth import durable
from deepsynth.run import receipts
from deepsynth.run.run import Run
from deepsynth.run.step import Step
from deepsynth.runners.slurm.connection import Connection
from deepsynth.runners.slurm.record import Record
from deepsynth.runners.slurm.states import Element, Snapshot
from deepsynth.runners.slurm.transfer import Progress, Transfer, TransferFailed

TOLERATED_SKEW = 10.0
"""Seconds by which two clocks may differ before it shows in how long things seem to take."""

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


def mirror(connection: Connection, run: Run, record: Record, snapshot: Snapshot) -> None:
    """Append the events that are new there to those here, and copy the curve if it changed."""
    if snapshot.events:
        with (run.path / "events.jsonl").open("ab", buffering=0) as stream:
            stream.write(in_our_time(snapshot))
        record.save(run, events=record.events + len(snapshot.events))
        curve = connection.run(f"cat {shlex.quote(record.folder + '/metrics.jsonl')} 2>/dev/null")
        if curve.stdout:
            whole = curve.stdout[: curve.stdout.rfind("\n") + 1]
            durable.write_text(run.path / "metrics.jsonl", whole)


def in_our_time(snapshot: Snapshot) -> bytes:
    """The new events, told by the clock of this side where the one there is wrong."""
    skew = time.time() - snapshot.clock if snapshot.clock else 0.0
    if abs(skew) < TOLERATED_SKEW:
        return snapshot.events
    events = durable.parse_lines(snapshot.events)
    lines = (
        json.dumps(event | {"time": round(event["time"] + skew, 3)}, ensure_ascii=False) + "\n"
        for event in events
    )
    return "".join(lines).encode()


def fetch(
    transfer: Transfer,
    run: Run,
    record: Record,
    steps: Sequence[Step],
    *,
    everything: bool,
    progress: Progress,
) -> int:
    """Copy the run folder there over the one here, and verify what the receipts name.

    Args:
        transfer: Of the site.
        run: The run.
        record: Where it is there.
        steps: Those done there; what others made here is not touched.
        everything: Also what only later steps read.
        progress: Told how far it is.

    Returns:
        Number of files that are here and are what their receipts say.

    Raises:
        TransferFailed: A file differs from its receipt, twice.
    """
    left_out = [] if everything or _has_plain_steps(run) else intermediate(run)
    exclude = [*OURS, *(f"/steps/{s.name}/work" for s in run.plan.steps)]
    for step in run.plan.steps:
        if step not in steps:
            exclude += [f"/steps/{step.name}", f"/logs/{step.name}.log"]
            exclude += [f"/{output}" for output in step.outputs]
    exclude += [f"/{name}" for name in left_out]
    transfer.fetch(record.folder, run.path, exclude=exclude, progress=progress)
    wrong, count = _verify(run, steps, left_out)
    if wrong:
        for name in wrong:
            (run.path / name).unlink(missing_ok=True)
        transfer.fetch(record.folder, run.path, exclude=exclude, progress=progress)
        wrong, count = _verify(run, steps, left_out)
    if wrong:
        raise TransferFailed(
            f"{len(wrong)} files are not what their receipts say, the first {wrong[0]}.",
            where=f"{record.site.host}:{record.folder}",
            hint="They were changed there after the step ended; do the step again: "
            f"deepsynth run --resume {run.path}",
        )
    return count


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


def reconcile(run: Run, snapshot: Snapshot, steps: Sequence[Step]) -> None:
    """Write the receipts of steps done by a site's own programs, which leave none themselves.

    The batch script listed what they made with sha256; only what is here and the same counts.

    Raises:
        TransferFailed: A file here is not the one that was made there.
    """
    for step in steps:
        for element in snapshot.of(step.name):
            proof = run.path / "steps" / step.name / f"outputs-{element.index}.sha256"
            written = receipts.receipt_path(run, step, element.index)
            if element.kind != "done" or written.exists() or not proof.is_file():
                continue
            for name, digest in _read_proof(proof):
                if (
                    not (run.path / name).is_file()
                    or durable.sha256_file(run.path / name) != digest
                ):
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
    return float(words[5]) if len(words) > 5 else 0.0


def _has_plain_steps(run: Run) -> bool:
    record = durable.read_json(run.path / "slurm.json")
    environments = (record or {}).get("site", {}).get("environments", {})
    return any(not e.get("deepsynth", True) for e in environments.values())


def _verify(run: Run, steps: Sequence[Step], left_out: list[str]) -> tuple[list[str], int]:
    wrong: list[str] = []
    count = 0
    for step in steps:
        for index in range(step.array):
            receipt = durable.read_json(receipts.receipt_path(run, step, index))
            for output, files in (receipt or {}).get("outputs", {}).items():
                if output in left_out:
                    continue
                for name, entry in files.items():
                    path = _path_of(run, output, name, step)
                    count += 1
                    if not path.is_file() or durable.sha256_file(path) != entry["sha256"]:
                        wrong.append(path.relative_to(run.path).as_posix())
    return wrong, count


def _path_of(run: Run, output: str, name: str, step: Step) -> Path:
    """Where a file a receipt names lies: below the output, or the output itself.

    Raises:
        TransferFailed: The receipt names a place outside the run folder.
    """
    path = run.path / output
    path = path / name if path.is_dir() else path.parent / name
    if not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(run.path)):
        raise TransferFailed(f"the receipt names a file outside the run: {name}", where=step.name)
    return path


def _read_proof(proof: Path) -> list[tuple[str, str]]:
    """The file names and sha256 of a list `sha256sum` wrote."""
    pairs = (line.partition("  ") for line in proof.read_text(encoding="utf-8").splitlines())
    return [(name, digest) for digest, _, name in pairs]
