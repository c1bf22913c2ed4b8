"""From a job to its steps: the data are sized, open settings filled in, command lines made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from deepsynth.families.classify.job import ClassifyJob
from deepsynth.families.classify.models import check_model_name
from deepsynth.families.classify.prepare import read_source
from deepsynth.job.job import Recommendation, ResolvedJob, is_place
from deepsynth.job.presets import recommend as recommend_presets
from deepsynth.run.step import Plan, Resources, Step, StepGroup, StepResult

_PRESETS = Path(__file__).parent / "presets.yaml"
# The last one is imported by the first optimiser that is made.
_MODEL = ["transformers.modeling_utils", "transformers.trainer", "torch._dynamo"]
_SCRATCH = "transformers.models.modernbert.modeling_modernbert"
_PICTURES = ["matplotlib.figure", "matplotlib.backends.backend_agg"]


@dataclass(frozen=True)
class Size:
    """Rows of the training split, about, and the commit of a Hub dataset."""

    samples: int
    commit: str | None


def measure(job: ClassifyJob) -> Size:
    """Size the data; this also finds data and model names that cannot work."""
    check_model_name(job.model)
    tables, commit = read_source(job.data, Path(job.data.path) if job.data.path else None)
    held_out = sum(
        share
        for split, share in (
            ("validation", job.data.validation_share),
            ("test", job.data.test_share),
        )
        if split not in tables
    )
    return Size(round(len(tables["train"]) * (1 - held_out)), commit)


def recommend(job: ClassifyJob, size: Size) -> list[Recommendation]:
    """Settings for so many rows; a dataset of the Hub stays at the commit it has now."""
    advice = recommend_presets(_PRESETS, size.samples, scratch=job.is_scratch)
    if size.commit is not None:
        why = "the commit of the dataset when the run was made"
        advice.append(Recommendation("data.revision", size.commit, why, pins=True))
    return advice


def plan(resolved: ResolvedJob) -> Plan:
    """The steps of a job: prepare, check, train, evaluate."""
    job = cast(ClassifyJob, resolved.job)
    values = job.model_dump()
    model = {} if is_place(job.model) else {"model": job.model, "revision": job.revision}
    sources = {"model": job.model} if is_place(job.model) else {}
    shared = {"seed": job.seed, **model, "tokens": values["tokens"], "train": values["train"]}
    training = Resources(cpus=2, memory_gb=8, minutes=240, gpus=job.gpus)
    warm = [*_MODEL, *([_SCRATCH] if job.is_scratch else [])]
    return Plan(
        steps=[
            Step(
                name="prepare",
                title="Preparing the data",
                task="download_dataset",
                argv=_argv("prepare"),
                sources={"data": job.data.path} if job.data.path else {},
                outputs=["data"],
                settings={
                    "seed": job.seed,
                    "data": {k: v for k, v in values["data"].items() if k != "path"},
                },
            ),
            Step(
                name="check",
                title="Checking data, budget and learning",
                task="tokenize_dataset",
                argv=_argv("check"),
                after=["prepare"],
                sources=sources,
                inputs=["data"],
                outputs=["checks"],
                settings={**shared, "check": values["check"]},
                warm=warm,
                resources=training,
            ),
            Step(
                name="train",
                title="Training",
                argv=_argv("train"),
                after=["check"],
                sources=sources,
                inputs=["data"],
                outputs=["model", "training"],
                settings=shared,
                warm=warm,
                resources=training,
            ),
            Step(
                name="evaluate",
                title="Evaluating",
                argv=_argv("evaluate"),
                after=["check", "train"],
                inputs=["data", "checks", "model", "training"],
                outputs=["evaluation", "metrics.json", "report.html"],
                settings={"seed": job.seed, "evaluation": values["evaluation"]},
                warm=[*warm, *_PICTURES],
                resources=training,
            ),
        ],
        group=StepGroup(
            task="train_and_eval",
            title="Train and evaluate: the model, its figures (metrics.json), the confusion "
            "matrix.",
            steps=["train", "evaluate"],
            results=[
                StepResult(step="train", path="model", kind="Dir"),
                StepResult(step="evaluate", path="metrics.json", kind="File"),
                StepResult(step="evaluate", path="evaluation/confusion_matrix.png", kind="File"),
            ],
        ),
    )


def _argv(step: str) -> list[str]:
    return ["{python}", "-m", f"deepsynth.families.classify.{step}", "{run}"]
