"""From a job to its steps: the data are sized, open settings filled in, command lines made."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

from deepsynth.families.htr.ground_truth.pages import count
from deepsynth.families.htr.job import HtrJob
from deepsynth.families.htr.kraken.environment import MANAGED
from deepsynth.families.htr.kraken.ketos import training_steps
from deepsynth.families.htr.kraken.model_file import read_model
from deepsynth.job.job import Recommendation, ResolvedJob
from deepsynth.job.presets import recommend as recommend_presets
from deepsynth.run.step import Plan, Resources, Step
from deepsynth.training.device import Gpus

_PAGE_GB = 0.1
"""Memory of a thread that reads pages: 51 MB measured at 2,500 x 3,500 pixels, more for larger."""
_PRESETS = Path(__file__).parent / "presets.yaml"


def measure(job: HtrJob) -> int:
    """Lines, or pages for segmentation, that train; finds data and models that cannot work."""
    if job.model:
        read_model(Path(job.model), job.task)
    pages, lines = count(Path(job.data.ground_truth))
    samples = lines if job.task == "recognition" else pages
    held_out = 2 / job.split.folds if job.split.folds else job.split.validation + job.split.test
    return round(samples * (1 - held_out))


def recommend(job: HtrJob, samples: int) -> list[Recommendation]:
    """Settings for so many lines or pages; the text is in the base model's normal form."""
    found = recommend_presets(_PRESETS, samples, task=job.task, scratch=job.model is None)
    if job.model and job.task == "recognition":
        form = read_model(Path(job.model)).normal_form
        why = f"the characters of the base model are in {form}"
    else:
        form, why = "NFC", "the form of nearly all text"
    return [*found, _warmup(job, samples, found), Recommendation("data.normalization", form, why)]


def _warmup(job: HtrJob, samples: int, found: list[Recommendation]) -> Recommendation:
    """The warm-up in updates, as Kraken counts it."""
    by_size = {advice.key.removeprefix("train."): advice.value for advice in found}
    epochs = job.train.epochs or by_size["epochs"]
    batch_size = job.train.batch_size or by_size["batch_size"]
    updates = epochs * math.ceil(samples / batch_size)
    share = job.train.warmup_ratio
    why = f"{share:.0%} of about {updates} updates" if share else "no warm-up is asked for"
    return Recommendation("train.warmup", math.ceil(share * updates), why)


def plan(resolved: ResolvedJob) -> Plan:
    """The steps of a job: check, prepare, train (two of them with a plain ketos), evaluate."""
    job = cast(HtrJob, resolved.job)
    values = job.model_dump()
    truth = {"ground_truth": job.data.ground_truth}
    model = {"model": job.model} if job.model else {}
    data = {key: value for key, value in values["data"].items() if key != "ground_truth"}
    lists = {
        name: path
        for name in ("train_list", "validation_list", "test_list")
        if (path := values["split"][name])
    }
    pages, reading = (truth, ["reading.jsonl"]) if job.task == "segmentation" else ({}, [])
    folds = bool(job.split.folds)
    by_page = Resources(cpus=4, memory_gb=4, core_gb=_PAGE_GB, minutes=120)
    return Plan(
        steps=[
            Step(
                name="check",
                title="Checking the ground truth",
                argv=_argv("check"),
                sources={**truth, **model, **lists},
                outputs=["checks", "reading.jsonl"],
                settings={
                    "seed": job.seed,
                    "task": job.task,
                    "data": data,
                    "split": values["split"],
                },
                resources=by_page,
            ),
            Step(
                name="prepare",
                title="Compiling the lines" if job.task == "recognition" else "Sharing out pages",
                argv=_argv("prepare"),
                after=["check"],
                sources={**truth, **model},
                inputs=["reading.jsonl"],
                outputs=["data"],
                settings={
                    "task": job.task,
                    "normalization": job.data.normalization,
                    "allow_lost": job.data.allow_lost,
                    "spec": job.train.spec,
                    "lists": job.kraken.version is not None,
                },
                resources=by_page,
            ),
            *_training(job, {**pages, **model}, ["data", *reading]),
            Step(
                name="evaluate",
                title="Evaluating",
                argv=_argv("evaluate"),
                environment=MANAGED,
                after=["train"],
                sources={**pages, **model},
                inputs=["data", "checks", *reading, "folds" if folds else "model"],
                outputs=[
                    "evaluation",
                    "metrics.json",
                    "report.html",
                    *(["model"] if folds else []),
                ],
                settings={"seed": job.seed, "evaluation": values["evaluation"]},
                resources=Resources(cpus=2, memory_gb=8, minutes=120, gpus=_gpus(job)),
            ),
        ]
    )


def _training(job: HtrJob, sources: dict[str, str], inputs: list[str]) -> list[Step]:
    values = job.model_dump()
    settings = {
        "seed": job.seed,
        "task": job.task,
        "train": values["train"],
        "segmentation": values["segmentation"],
        "kraken": values["kraken"],
    }
    resources = Resources(
        cpus=max(2, job.train.workers + 1), memory_gb=8, minutes=600, gpus=_gpus(job)
    )
    if job.kraken.version:
        return training_steps(job, sources, settings, resources, _argv("train"))
    by_site = job.kraken.toolchain == "site"
    return [
        Step(
            name="train",
            title="Training",
            argv=_argv("train"),
            environment="this" if by_site else MANAGED,
            warm=[] if by_site else ["deepsynth.families.htr.kraken.training"],
            after=["prepare"],
            sources=sources,
            inputs=inputs,
            outputs=["folds/{index}"] if job.split.folds else ["model", "training"],
            array=job.split.folds or 1,
            settings=settings,
            resources=resources,
        )
    ]


def _gpus(job: HtrJob) -> Gpus:
    """What the arithmetic asks for: as the job says, where its device does not say it already."""
    name = job.train.device.partition(":")[0]
    if name == "auto" or job.gpus == 0:
        return job.gpus
    return 1 if name == "cuda" else 0


def _argv(module: str) -> list[str]:
    return ["{python}", "-m", f"deepsynth.families.htr.{module}", "{run}"]
