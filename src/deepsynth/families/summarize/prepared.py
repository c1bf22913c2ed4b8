"""What the steps of `summarize` share: the prepared samples and the model of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.errors import DataError, ModelError
from deepsynth.families.summarize.job import SummarizeJob
from deepsynth.families.summarize.vlm_data import PageSamples
from deepsynth.families.summarize.vlm_shards import ShardRows
from deepsynth.run.run import Run

INDEX = "samples.json"
"""In `data/`: files of the dataset and, by split, which rows are used."""


def dataset_folders(run: Run, step: str) -> list[Path]:
    """The folders the rows of a run are in: where the job says, or made by `prepare`."""
    index = _index(run)
    plan = run.plan.step(step)
    if "data" in plan.sources and index["in_place"]:
        return [run.source(plan, "data")]
    return [run.path / "data" / name for name in index["folders"]]


def read_samples(run: Run, step: str, split: str) -> PageSamples:
    """The samples of a split.

    Args:
        run: Whose.
        step: The step that asks, which declares what it reads.
        split: `train`, `validation` or `test`.
    """
    index = _index(run)
    folders = dataset_folders(run, step)
    files = [folders[number] / name for number, name in index["files"]]
    for path in files:
        if not path.is_file():
            raise DataError("the shard is gone.", where=path, hint="Generate it again.")
    return PageSamples(ShardRows(files, index["splits"][split]), split)


def rows_of(run: Run) -> dict[str, int]:
    """Rows by split."""
    return {split: len(rows) for split, rows in _index(run)["splits"].items()}


def model_source(run: Run, step: str) -> str:
    """The model the job starts from, where it is on this machine."""
    job = run.job(SummarizeJob)
    plan = run.plan.step(step)
    return str(run.source(plan, "model")) if "model" in plan.sources else job.model


def exported(run: Run) -> dict[str, Path]:
    """Folders of the trained model: `adapter`, `merged`, or both.

    Raises:
        ModelError: The run has no model yet.
    """
    folder = run.path / "model"
    found = {
        name: folder / name
        for name, mark in (("adapter", "adapter_config.json"), ("merged", "config.json"))
        if (folder / name / mark).is_file()
    }
    if not found:
        raise ModelError(
            "this run has no trained model yet.",
            where=run.path,
            hint=f"Finish it: deepsynth run --resume {run.path}",
        )
    return found


def _index(run: Run) -> dict[str, Any]:
    index = durable.read_json(run.path / "data" / INDEX)
    if index is None:
        raise DataError("the data of this run is not prepared.", where=run.path)
    return index
