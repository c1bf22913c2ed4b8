"""`classify`: a BERT-like model sorts texts such as customer tickets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth import durable
from deepsynth.families.family import Comparison, Family, Metric

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
    ends = final["macro_f1_interval"]
    interval = f" (95 % interval {ends[0]:.3f}-{ends[1]:.3f})" if ends else ""
    beaten = "; ".join(
        f"{said['what']}: {said['macro_f1']:.3f}" for said in final["baselines"].values()
    )
    lines = [final["doubt"]] if final["doubt"] else []
    lines.append(
        f"accuracy {final['accuracy']:.3f}, macro-F1 {final['macro_f1']:.3f}{interval} on "
        f"{final['test_rows']} test texts; {beaten}"
    )
    model = final["model"]
    if model["fresh_weights"]:
        lines.append("The model started from fresh weights; a pretrained one usually does better.")
    elif model["method"] == "tfidf":
        lines.append("The model: a linear one on the TF-IDF of words.")
    elif model["method"] == "probe":
        lines.append(f"The model: the encoder as it came, with a linear head; {model['why']}.")
    else:
        lines.append(f"The model: fine-tuned; {model['why']}.")
    if model["still_rising"]:
        lines.append(
            "Validation still rose at the last update: more passes (train.epochs) may gain."
        )
    return lines


def _predict(run: Run, texts: Sequence[str], files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    from deepsynth.families.classify.predict import predict

    return predict(run, texts, files)


def _show(answer: dict[str, Any]) -> str:
    return f"{answer['label']}  {answer['probability']:.3f}  {answer['text']}"


def _compare(runs: Sequence[Run]) -> Comparison:
    from deepsynth.families.classify.compare import compare

    return compare(runs)


_LOADING = """from transformers import pipeline

classify = pipeline("text-classification", model="{{repo}}")
print(classify("...", truncation=True, max_length={max_length}))"""
_LOADING_ENCODER = """import torch
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{repo}")
labels = model[0].auto_model.config.id2label
scores = torch.softmax(model.encode("...", convert_to_tensor=True), dim=-1)
print(labels[int(scores.argmax())], float(scores.max()))"""

_LOADING_TFIDF = """import json
from pathlib import Path

from deepsynth.families.classify.tfidf import TfidfClassifier
from huggingface_hub import snapshot_download

folder = Path(snapshot_download("{repo}"))
labels = json.loads((folder / "deepsynth.json").read_text())["labels"]
scores = TfidfClassifier.load(folder).probabilities(["..."])[0]
print(labels[scores.argmax()], scores.max())"""


def _card(run: Run) -> ModelCard:
    from deepsynth.hub.model_card import ModelCard

    folder = run.path / "model"
    how = durable.read_json(folder / "deepsynth.json")
    library, loading = "transformers", _LOADING.format(max_length=how["max_length"])
    if (folder / "modules.json").exists():
        library, loading = "sentence-transformers", _LOADING_ENCODER
    elif how.get("method") == "tfidf":
        library, loading = "deepsynth", _LOADING_TFIDF
    return ModelCard(
        task="text-classification",
        library=library,
        purpose="puts a short text into one of the classes it was trained on",
        loading=loading,
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
    compare=_compare,
    card=_card,
)
