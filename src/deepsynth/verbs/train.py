"""The verb `train`: of a job, of a run, or straight from flags on datasets of pages."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from deepsynth.errors import RequestError
from deepsynth.verbs import work

_SETTINGS = {
    "batch_size": "train",
    "epochs": "train",
    "learning_rate": "train",
    "mixed_precision": "train",
    "num_workers": "train",
    "gradient_accumulation": "train",
    "max_train_samples": "data",
    "max_val_samples": "data",
    "hf_dataset_prefix": "data",
    "weights": "data",
}
"""Section of the job each flag is a setting of."""


def train(
    target: Annotated[Path | None, Parameter(help="A job file, or a run folder.")] = None,
    /,
    *overrides: work.Overrides,
    datasets: Annotated[
        list[str] | None,
        Parameter(
            help="Without a job: datasets of pages by name (mlsum_fr), made here or on the Hub; "
            "all; USER/NAME[@revision]; or one folder.",
            consume_multiple=True,
            negative=(),
        ),
    ] = None,
    weights: Annotated[
        list[float] | None,
        Parameter(
            help="Share of each dataset; by default all rows of all.",
            consume_multiple=True,
            negative=(),
        ),
    ] = None,
    hf_dataset_prefix: Annotated[
        str | None, Parameter(help="Whose datasets on the Hub; by default your own.")
    ] = None,
    model_name: Annotated[
        str | None, Parameter(help="Model to start from: Hub name, folder, or an earlier run.")
    ] = None,
    batch_size: Annotated[int | None, Parameter(help="Samples a device takes at once.")] = None,
    epochs: Annotated[float | None, Parameter(help="Passes over the data.")] = None,
    learning_rate: Annotated[float | None, Parameter(help="Peak learning rate.")] = None,
    mixed_precision: Annotated[
        Literal["bf16", "fp16", "no"] | None, Parameter(help="fp16 needs a GPU.")
    ] = None,
    num_workers: Annotated[int | None, Parameter(help="Processes that prepare batches.")] = None,
    gradient_accumulation: Annotated[int | None, Parameter(help="Batches in one update.")] = None,
    max_train_samples: Annotated[int | None, Parameter(help="Train on at most so many.")] = None,
    max_val_samples: Annotated[int | None, Parameter(help="Validate on at most so many.")] = None,
    output_dir: Annotated[
        Path | None, Parameter(help="The run folder; instead of --runs and --name.")
    ] = None,
    on: work.On = None,
    runs: work.Runs = Path("runs"),
    name: work.Name = None,
    offline: work.Offline = False,
    cold: work.Cold = False,
    quiet: work.Quiet = False,
) -> int:
    """Train the model of a job, run or list of datasets, preparing and checking first.

    The flags are settings of the job by another name: `--epochs 5` is `train.epochs=5`. What is
    not given is chosen by the size of the data, with a reason.

    For example:

    ```
    deepsynth train tickets/job.yaml train.epochs=5
    deepsynth train --datasets mlsum_fr mlsum_es --batch-size 4 --mixed-precision bf16
    deepsynth train --datasets all --hf-dataset-prefix other-user --max-train-samples 5000
    deepsynth train --datasets mlsum_de --model-name runs/mlsum_fr-mlsum_es
    ```
    """
    given = {
        "batch_size": batch_size,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "mixed_precision": mixed_precision,
        "num_workers": num_workers,
        "gradient_accumulation": gradient_accumulation,
        "max_train_samples": max_train_samples,
        "max_val_samples": max_val_samples,
        "hf_dataset_prefix": hf_dataset_prefix,
        "weights": weights,
    }
    settings = {key: value for key, value in given.items() if value is not None}
    if output_dir is not None:
        runs, name = output_dir.parent, output_dir.name

    def begin(job: Path, words: list[str]) -> int:
        return work.train(
            job,
            *words,
            on=on,
            runs=runs,
            name=name,
            offline=offline,
            cold=cold,
            quiet=quiet,
        )

    if not datasets:
        if target is None:
            raise RequestError(
                "there is nothing to train on.",
                where="train",
                hint="Name a job (deepsynth train JOB), or datasets: --datasets mlsum_fr mlsum_es",
            )
        flags = [f"{_SETTINGS[key]}.{key}={value}" for key, value in settings.items()]
        flags += [f"model={model_name}"] if model_name is not None else []
        return begin(target, [*overrides, *flags])
    # an override after the names is taken for one of them
    more = [word for word in [str(target or ""), *overrides, *datasets] if "=" in word]
    if target is not None and "=" not in str(target):
        raise RequestError(
            "a job has its own data.", where=target, hint="Give a job or --datasets, not both."
        )
    names = [name for name in datasets if "=" not in name]
    with tempfile.TemporaryDirectory(prefix="deepsynth-job-") as temporary:
        job = _write_job(Path(temporary), names, settings, model_name)
        return begin(job, more)


def _write_job(
    folder: Path, names: list[str], settings: Mapping[str, object], model: str | None
) -> Path:
    """The job that flags amount to; its folder, and so the run, is called after the datasets."""
    from deepsynth.families.summarize.cli import job_text

    by_section: dict[str, dict[str, object]] = {"train": {}, "data": {}}
    for key, value in settings.items():
        by_section[_SETTINGS[key]][key] = value
    text = job_text(names, by_section["train"], by_section["data"], model)
    short = (re.sub(r"[^\w.-]", "-", name.rstrip("/").split("/")[-1]) for name in names)
    place = folder / ("-".join(short)[:60].strip("-.") or "datasets")
    place.mkdir()
    job = place / "job.yaml"
    job.write_text(text, encoding="utf-8")
    return job
