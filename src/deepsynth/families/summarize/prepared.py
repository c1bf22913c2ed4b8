"""What the steps of `summarize` share: the prepared samples and the models of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.errors import DataError, ModelError
from deepsynth.families.summarize.job import Pages, SummarizeJob, TrainerConfig
from deepsynth.families.summarize.lora import load_adapter
from deepsynth.families.summarize.model import load_model, load_processor
from deepsynth.families.summarize.samples import PageSamples, ShardRows
from deepsynth.families.summarize.session import base_of
from deepsynth.pages.render.settings import PageSettings
from deepsynth.run.run import Run
from deepsynth.training.arguments import choose_precision

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


def pages_drawn(run: Run) -> dict[str, Any]:
    """How the pages of a run's data were drawn; see `prepare.drawn_with`."""
    job = run.job(SummarizeJob)
    return _index(run).get("drawn") or {"mode": job.pages.mode, "size_px": job.pages.size_px}


def drawn_settings(drawn: dict[str, Any], asked: Pages) -> PageSettings:
    """Settings that draw as pages were drawn; the job's where that is not known."""
    known = {k: v for k, v in drawn.items() if k in PageSettings.model_fields and v is not None}
    if "degrade" in known:
        known["degrade"] = ",".join(known["degrade"]) or None
    return PageSettings.model_validate(asked.model_dump(exclude={"tiles"}) | known)


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


def generation_limit(run: Run) -> int:
    """Tokens after which a written summary is cut: the same as in the training of this run."""
    folder = next(iter(exported(run).values()))
    known = durable.read_json(folder / "training_config.json") or {}
    job = run.job(SummarizeJob)
    return known.get("max_new_tokens") or job.train.max_target_tokens


def _index(run: Run) -> dict[str, Any]:
    index = durable.read_json(run.path / "data" / INDEX)
    if index is None:
        raise DataError("the data of this run is not prepared.", where=run.path)
    return index


def start_config(run: Run, step: str) -> TrainerConfig:
    """The job's training settings with the model as it is found on this machine."""
    job = run.job(SummarizeJob)
    name = str(run.path / "base") if job.is_scratch else model_source(run, step)
    return job.trainer_config(name)


def load_start(run: Run, step: str) -> tuple[Any, Any]:
    """Model and processor as they were before training: the baseline.

    Starting from an earlier run, that run's adapter is part of it.
    """
    config = start_config(run, step)
    base, adapter = base_of(config, run.path / "base", list)
    model = _load(base, config)
    if adapter is not None:
        model = load_adapter(model, adapter)
    processor = load_processor(base, config.model_revision, config.trust_remote_code)
    return model.eval(), processor


def load_adapted(run: Run, step: str, adapter: Path) -> tuple[Any, Any]:
    """The base with the trained adapter on it, and the processor saved beside the adapter."""
    config = start_config(run, step)
    base, _ = base_of(config, run.path / "base", list)
    return load_adapter(_load(base, config), adapter).eval(), load_processor(str(adapter))


def load_whole(folder: Path, config: TrainerConfig) -> tuple[Any, Any]:
    """A merged or fully trained model and its processor."""
    precision = choose_precision(config.mixed_precision)
    return load_model(str(folder), precision=precision).eval(), load_processor(str(folder))


def to_device(model: Any) -> Any:
    """The model on the GPU if there is one."""
    import torch

    return model.to("cuda") if torch.cuda.is_available() else model


def _load(base: str, config: TrainerConfig) -> Any:
    return load_model(
        base,
        precision=choose_precision(config.mixed_precision),
        revision=config.model_revision,
        trust_remote_code=config.trust_remote_code,
    )
