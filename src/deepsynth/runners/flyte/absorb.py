"""Bringing what the tasks made back into the run folder, verified."""

from __future__ import annotations

import shutil
from pathlib import Path

from deepsynth import durable, storage
from deepsynth.run import receipts, records
from deepsynth.run.run import Run
from deepsynth.run.step import Step
from deepsynth.runners.flyte.process import replace_curve
from deepsynth.storage.failure import StorageError


def published_sources(run: Run, steps: list[Step], store: str) -> dict[str, str]:
    """Put the sources of the steps into the store, once for each content.

    Returns:
        Location of each source, by name.

    Raises:
        LocationError: The store cannot be used.
        StorageError: Sending failed.
    """
    places: dict[str, str] = {}
    for step in steps:
        for name in step.sources:
            if name not in places:
                path = run.source(step, name)
                content = durable.sha256_value(durable.digest(path))[:20]
                url = f"{store.rstrip('/')}/sources/{content}"
                places[name] = storage.publish(path, url).location
    return places


def absorb(run: Run, step: Step, index: int, location: str, since: float, *, live: bool) -> None:
    """Take over the outputs, the receipt and the record of one element of a step.

    The receipt is put in place last, so a run cut short here is known to be unfinished.

    Args:
        run: The run folder.
        step: The step.
        index: Which element.
        location: Where the task published it.
        since: When this run began; what was made before came from the cache.
        live: Whether tasks of this run already showed their events and logs in the folder.

    Raises:
        StorageError: The store gave other bytes than were published.
    """
    place = receipts.receipt_path(run, step, index)
    published = location.rstrip("/").rpartition("/")[0]
    fetched = run.path / "steps" / step.name / "fetched"
    if _is_here(run, step, index, published, fetched):
        run.event("step_skipped", step=step.name, index=index)
        return
    shutil.rmtree(fetched, ignore_errors=True)
    storage.fetch(published, fetched)
    place.unlink(missing_ok=True)
    for output in receipts.outputs_of(step, index):
        target = run.path / output
        if target.is_dir():
            shutil.rmtree(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        (fetched / output).replace(target)
    receipt = records.receipt(durable.read_json(fetched / place.relative_to(run.path)))
    if receipt is None:
        raise StorageError("there is no receipt that can be read.", where=location)
    if receipt["started"] < since:
        run.event("step_skipped", step=step.name, index=index)
    if receipt["started"] < since or not live:
        _append(fetched / "logs" / f"{step.name}.log", run.path / "logs" / f"{step.name}.log")
        if receipt["started"] >= since:
            _append(fetched / "record" / "events.jsonl", run.path / "events.jsonl")
        if (fetched / "record" / "metrics.jsonl").exists():
            replace_curve(run, step.name, Run(fetched / "record"))
    (fetched / place.relative_to(run.path)).replace(place)
    shutil.rmtree(fetched)


def _is_here(run: Run, step: Step, index: int, published: str, fetched: Path) -> bool:
    """Whether the run folder has, byte for byte, what was published."""
    place = receipts.receipt_path(run, step, index)
    known = receipts.read_receipt(run, step, index)
    if known is None:
        return False
    shutil.rmtree(fetched, ignore_errors=True)
    name = place.relative_to(run.path).as_posix()
    storage.fetch(published, fetched, only=lambda found: found == name)
    told = records.receipt(durable.read_json(fetched / name))
    shutil.rmtree(fetched)
    if told is None:
        return False
    return told["outputs"] == known["outputs"] and receipts.is_done(run, step, told["key"], index)


def _append(source: Path, target: Path) -> None:
    with target.open("ab") as stream:
        stream.write(source.read_bytes())
