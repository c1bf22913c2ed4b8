"""`classify`: a BERT-like model sorts texts such as customer tickets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth.families.family import Family, Metric

if TYPE_CHECKING:
    from deepsynth.families.classify.job import ClassifyJob
    from deepsynth.families.classify.plan import Size
    from deepsynth.hub.model_card import ModelCard
    from deepsynth.job.job import Recommendation, ResolvedJob
    from deepsynth.run.run import Run
    from deepsynth.run.step import Plan

HERE = Path(__file__).parent


def _measure(job: ClassifyJob) -> Size:
    from deepsynth.families.classify.plan import measure

    return measure(job)


def _recommend(job: ClassifyJob, size: Size) -> list[Recommendation]:
    from deepsynth.families.classify.plan import recommend

    return recommend(job, size)


def _plan(resolved: ResolvedJob) -> Plan:
    from deepsynth.families.classify.plan import plan

    return plan(resolved)


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


_LOADING = """from transformers import pipeline

classify = pipeline("text-classification", model="{repo}")
print(classify("..."))"""


def _card(run: Run) -> ModelCard:
    from deepsynth.hub.model_card import ModelCard

    return ModelCard(
        task="text-classification",
        library="transformers",
        purpose="puts a short text into one of the classes it was trained on",
        loading=_LOADING,
    )


FAMILY = Family(
    name="classify",
    summary="sort texts, such as customer tickets, into labels",
    job="deepsynth.families.classify.job:ClassifyJob",
    measure=_measure,
    recommend=_recommend,
    plan=_plan,
    headline=_headline,
    predict=_predict,
    show=_show,
    template=HERE / "template",
    metrics=(Metric("macro_f1", "macro-F1", "higher"), Metric("accuracy", "accuracy", "higher")),
    card=_card,
)
