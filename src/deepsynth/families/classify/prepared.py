"""Reading what the step `prepare` wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deepsynth import durable
from deepsynth.run.run import Run

PROBE = "probe.json"
"""In `training/`: what the encoder as it came reached with a linear head, and its answers."""


@dataclass(frozen=True)
class Split:
    """The rows of one split.

    Attributes:
        texts: The texts.
        labels: Index of each row's label.
        places: Where each row came from.
        groups: Near-duplicate group of each row.
    """

    texts: list[str]
    labels: list[int]
    places: list[str]
    groups: list[int]

    def __len__(self) -> int:
        return len(self.texts)


def read_split(run: Run, name: str) -> Split:
    """The split called `train`, `validation` or `test`."""
    import pyarrow.parquet as pq

    # Not read_table, which imports what reading whole datasets takes.
    with pq.ParquetFile(run.path / "data" / f"{name}.parquet") as file:
        table = file.read().to_pydict()
    return Split(table["text"], table["label"], table["place"], table["group"])


def read_labels(run: Run) -> list[str]:
    """All labels in the order of their indices."""
    return durable.read_json(run.path / "data" / "manifest.json")["labels"]


def model_path(run: Run, step: str) -> str:
    """The job's model as this machine can load it: a Hub name, `scratch:NAME`, or a path."""
    found = run.plan.step(step)
    if "model" in found.sources:
        return str(run.source(found, "model"))
    return found.settings["model"]


def model_folder(run: Run) -> Path:
    """Where the trained model lies."""
    return run.path / "model"
