"""Receipts: the proof, written last, that a step was done with these inputs and settings."""

from __future__ import annotations

import platform
import socket
import time
from pathlib import Path
from typing import Any

from deepsynth import __version__, durable
from deepsynth.run.run import Run
from deepsynth.run.step import Step


def outputs_of(step: Step, index: int = 0) -> list[str]:
    """The run-relative outputs of one element of a step."""
    return [output.format(index=index) for output in step.outputs]


def receipt_path(run: Run, step: Step, index: int = 0) -> Path:
    """`steps/NAME/receipt.json`, or one file an element for a sharded step."""
    name = "receipt.json" if step.array == 1 else f"receipt-{index:05d}.json"
    return run.path / "steps" / step.name / name


def step_key(run: Run, step: Step) -> str:
    """What decides a step's outputs, as one sha256.

    The command line, the settings it declares, and the bytes of everything it reads enter; where
    files lie, who runs it and on what machine do not, so a key is the same on every runner.
    """
    sources = {name: durable.digest(run.source(step, name)) for name in step.sources}
    inputs = {name: durable.digest(run.path / name) for name in step.inputs}
    return key_of(step, sources, inputs)


def key_of(step: Step, sources: dict[str, Any], inputs: dict[str, Any]) -> str:
    """The key of a step that reads files with these digests; see `durable.digest`.

    Args:
        step: The step.
        sources: Digest of each of its sources, by name.
        inputs: Digest of each of its inputs, by path in the run.
    """
    return durable.sha256_value(
        {
            "deepsynth": __version__,
            "argv": step.argv,
            "settings": step.settings,
            "array": step.array,
            "sources": sources,
            "inputs": inputs,
        }
    )


def is_done(run: Run, step: Step, key: str, index: int = 0) -> bool:
    """Whether the receipt is of this key and every output is still as it was written."""
    receipt = durable.read_json(receipt_path(run, step, index))
    if not receipt or receipt["key"] != key:
        return False
    return receipt["outputs"] == _outputs(run, step, index)


def has_receipt(run: Run, step: Step) -> bool:
    """Whether every element of the step has a receipt; says nothing about its inputs since."""
    return all(receipt_path(run, step, index).exists() for index in range(step.array))


def write_receipt(run: Run, step: Step, key: str, started: float, index: int = 0) -> dict[str, Any]:
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
    }
    durable.write_json(receipt_path(run, step, index), receipt)
    return receipt


def _outputs(run: Run, step: Step, index: int) -> dict[str, Any]:
    return {name: durable.digest(run.path / name) for name in outputs_of(step, index)}
