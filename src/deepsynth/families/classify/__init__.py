"""`classify`: a BERT-like model sorts texts such as customer tickets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from deepsynth.families.classify.job import ClassifyJob
from deepsynth.families.family import Family, Metric
from deepsynth.hub.model_card import ModelCard
from deepsynth.job.job import Recommendation, ResolvedJob, is_place
from deepsynth.job.presets import recommend
from deepsynth.run.step import Plan, Resources, Step, StepGroup, StepResult

if TYPE_CHECKING:
    from deepsynth.run.run import Run

HERE = Path(__file__).parent
_MODEL = ["transformers.modeling_utils", "transformers.trainer_utils"]
_SCRATCH = "transformers.models.modernbert.modeling_modernbert"
_PICTURES = ["matplotlib.figure", "matplotlib.backends.backend_agg"]


@dataclass(frozen=True)
class _Size:
    """Rows of the training split, about, and the commit of a Hub dataset."""

    samples: int
    commit: str | None


def _measure(job: ClassifyJob) -> _Size:
    """Size the data; this also finds data and model names that cannot work."""
    from deepsynth.families.classify.models import check_model_name
    from deepsynth.families.classify.prepare import read_source

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
    return _Size(round(len(tables["train"]) * (1 - held_out)), commit)


def _recommend(job: ClassifyJob, size: _Size) -> list[Recommendation]:
    advice = recommend(HERE / "presets.yaml", size.samples, scratch=job.is_scratch)
    if size.commit is not None:
        why = "the commit of the dataset when the run was made"
        advice.append(Recommendation("data.revision", size.commit, why, pins=True))
    return advice


def _plan(resolved: ResolvedJob) -> Plan:
    job = cast(ClassifyJob, resolved.job)
    values = job.model_dump()
    model = {} if is_place(job.model) else {"model": job.model, "revision": job.revision}
    sources = {"model": job.model} if is_place(job.model) else {}
    shared = {"seed": job.seed, **model, "tokens": values["tokens"], "train": values["train"]}
    training = Resources(cpus=2, memory_gb=8, minutes=240)
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


def _headline(final: dict[str, Any]) -> list[str]:
    low, high = final["macro_f1_interval"]
    baseline = final["baseline"]
    lines = [
        f"accuracy {final['accuracy']:.3f}, macro-F1 {final['macro_f1']:.3f} "
        f"(95 % interval {low:.3f}-{high:.3f}) on {final['test_rows']} test texts; "
        f"{baseline['what']}: accuracy {baseline['accuracy']:.3f}, "
        f"macro-F1 {baseline['macro_f1']:.3f}"
    ]
    if final["model"]["fresh_weights"]:
        lines.append("The model started from fresh weights; a pretrained one usually does better.")
    return lines


def _predict(run: Run, texts: Sequence[str], file: Path | None) -> Iterator[dict[str, Any]]:
    from deepsynth.families.classify.predict import predict

    return predict(run, texts, file)


def _show(answer: dict[str, Any]) -> str:
    return f"{answer['label']}  {answer['probability']:.3f}  {answer['text']}"


def _argv(step: str) -> list[str]:
    return ["{python}", "-m", f"deepsynth.families.classify.{step}", "{run}"]


CARD = ModelCard(
    task="text-classification",
    library="transformers",
    purpose="puts a short text into one of the classes it was trained on",
    loading="""from transformers import pipeline

classify = pipeline("text-classification", model="{repo}")
print(classify("..."))""",
)

FAMILY = Family(
    name="classify",
    summary="sort texts, such as customer tickets, into labels",
    job_type=ClassifyJob,
    measure=_measure,
    recommend=_recommend,
    plan=_plan,
    headline=_headline,
    predict=_predict,
    show=_show,
    template=HERE / "template",
    metrics=(Metric("macro_f1", "macro-F1", "higher"), Metric("accuracy", "accuracy", "higher")),
    card=lambda run: CARD,
)
