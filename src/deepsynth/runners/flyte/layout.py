"""Which step feeds which: what a task is given, worked out from the paths steps declare."""

from __future__ import annotations

import re
from typing import Any

from deepsynth.run import receipts
from deepsynth.run.step import Plan, Step


def makers(plan: Plan, step: Step) -> list[Step]:
    """The steps whose outputs `step` reads, in the order of the plan."""
    return [
        other
        for other in plan.steps
        if any(_overlap(out, path) for out in other.outputs for path in step.inputs)
    ]


def _overlap(output: str, path: str) -> bool:
    output = output.partition("{index}")[0].rstrip("/") if "{index}" in output else output
    return (
        output == path
        or path.startswith(f"{output}/")
        or output.startswith(f"{path}/")
        or output == ""
    )


def digest_below(files: dict[str, dict[str, Any]], path: str) -> dict[str, dict[str, Any]]:
    """What `durable.digest` says of `path` in a folder with these files."""
    if path in files:
        return {path.rpartition("/")[2]: files[path]}
    head = f"{path}/"
    return {name.removeprefix(head): files[name] for name in files if name.startswith(head)}


def expected_key(
    step: Step, sources: dict[str, dict[str, Any]], files: dict[str, dict[str, Any]]
) -> str:
    """The key `receipts.step_key` gives a step, from digests alone.

    Args:
        step: The step.
        sources: Digest of each of its sources.
        files: Digest of every file other steps made, by path in the run.
    """
    return receipts.key_of(
        step,
        {name: sources[name] for name in step.sources},
        {name: digest_below(files, name) for name in step.inputs},
    )


def parameter(name: str) -> str:
    """A name as a Python name."""
    return re.sub(r"\W", "_", name)


def source_parameter(name: str) -> str:
    """The Python name of a source."""
    return f"source_{parameter(name)}"
