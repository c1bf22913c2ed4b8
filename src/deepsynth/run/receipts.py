"""Receipts: the proof, written last, that a step was done with these inputs and settings."""

from __future__ import annotations

import platform
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepsynth import __version__, durable
from deepsynth.run import records
from deepsynth.run.run import Run
from deepsynth.run.step import Step

_NAMED = 3
"""How many changes are named when a step is done again."""


def outputs_of(step: Step, index: int = 0) -> list[str]:
    """The run-relative outputs of one element of a step."""
    return [output.format(index=index) for output in step.outputs]


def receipt_path(run: Run, step: Step, index: int = 0) -> Path:
    """`steps/NAME/receipt.json`, or one file an element for a sharded step."""
    name = "receipt.json" if step.array == 1 else f"receipt-{index:05d}.json"
    return run.path / "steps" / step.name / name


def read_receipt(run: Run, step: Step, index: int = 0) -> dict[str, Any] | None:
    """The receipt of an element of a step; None if there is none that can be believed."""
    return records.receipt(durable.read_json(receipt_path(run, step, index)))


class StepKey(str):
    """What decides a step's outputs, as one sha256; `of` says what it was made of."""

    of: dict[str, Any]

    def __new__(cls, of: dict[str, Any]) -> StepKey:
        """The key made of `of`."""
        key = super().__new__(cls, durable.sha256_value(of))
        # Of a folder with many files its digest is enough to tell that it changed.
        small = {name: _digests(of[name]) for name in ("sources", "inputs")}
        key.of = {**of, **small}
        return key


def step_key(run: Run, step: Step) -> StepKey:
    """What decides a step's outputs, as one sha256.

    The command line, the settings it declares, and the bytes of everything it reads enter; where
    files lie, who runs it and on what machine do not, so a key is the same on every runner.
    """
    sources = {name: durable.digest(run.source(step, name)) for name in step.sources}
    inputs = {name: durable.digest(run.path / name) for name in step.inputs}
    return key_of(step, sources, inputs)


def key_of(step: Step, sources: dict[str, Any], inputs: dict[str, Any]) -> StepKey:
    """The key of a step that reads files with these digests; see `durable.digest`.

    Args:
        step: The step.
        sources: Digest of each of its sources, by name.
        inputs: Digest of each of its inputs, by path in the run.
    """
    return StepKey(
        {
            "deepsynth": __version__,
            "argv": step.argv,
            "settings": step.settings,
            "array": step.array,
            "sources": sources,
            "inputs": inputs,
        }
    )


def why_redone(run: Run, step: Step, key: StepKey, index: int = 0) -> str:
    """Why what was done before does not count any more; empty if nothing was.

    Says what is another now: the version of DeepSynth, the command, a setting, or a file.
    """
    receipt = read_receipt(run, step, index)
    if receipt is None:
        return ""
    if receipt.get("key") == key:
        missing = [o for o in outputs_of(step, index) if not (run.path / o).exists()]
        return f"{', '.join(missing) or 'what it made'} is not as it was written"
    was = receipt.get("of")
    changes = [*_changes("", was, key.of)] if isinstance(was, dict) else []
    if receipt.get("deepsynth") != __version__:
        changes.insert(0, f"it was done by DeepSynth {receipt.get('deepsynth')}")
    more = f" and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
    return f"{'; '.join(changes[:_NAMED])}{more}" or "its settings or what it reads changed"


def _changes(place: str, was: Any, now: Any) -> Iterator[str]:
    if isinstance(was, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*was, *now]):
            yield from _changes(f"{place}.{name}".strip("."), was.get(name), now.get(name))
    elif was != now and place != "deepsynth":
        part, _, name = place.partition(".")
        if part in ("sources", "inputs"):
            yield f"{name} changed"
        elif part == "argv":
            before = " ".join(map(str, was)) if isinstance(was, list) else was
            yield f"its command is `{' '.join(now)}`, and was `{before}`"
        else:
            yield f"{name or part} is {now!r}, and was {was!r}"


def _digests(of: dict[str, Any]) -> dict[str, str]:
    return {name: durable.sha256_value(digest) for name, digest in of.items()}


def is_done(run: Run, step: Step, key: str, index: int = 0) -> bool:
    """Whether the receipt is of this key and every output is still as it was written."""
    receipt = read_receipt(run, step, index)
    if receipt is None or receipt["key"] != key:
        return False
    return receipt["outputs"] == _outputs(run, step, index)


def has_receipt(run: Run, step: Step) -> bool:
    """Whether every element of the step has a receipt; says nothing about its inputs since."""
    return all(read_receipt(run, step, index) for index in range(step.array))


def write_receipt(
    run: Run, step: Step, key: StepKey, started: float, index: int = 0
) -> dict[str, Any]:
    """Write the receipt of a step that just ended well, and return it."""
    receipt = {
        "step": step.name,
        "key": key,
        "deepsynth": __version__,
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "started": round(started, 3),
        "seconds": round(time.time() - started, 3),
        "outputs": _outputs(run, step, index),
        "of": key.of,
    }
    durable.write_json(receipt_path(run, step, index), receipt)
    return receipt


def _outputs(run: Run, step: Step, index: int) -> dict[str, Any]:
    return {name: durable.digest(run.path / name) for name in outputs_of(step, index)}
