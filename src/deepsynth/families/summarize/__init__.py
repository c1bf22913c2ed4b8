"""`summarize`: a vision-language model learns to summarise documents it sees as pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth.families.family import Family, Metric
from deepsynth.terminal import groups
from deepsynth.terminal.verb import Verb

if TYPE_CHECKING:
    from deepsynth.families.summarize.job import SummarizeJob
    from deepsynth.families.summarize.sources import Source
    from deepsynth.hub.model_card import ModelCard
    from deepsynth.job.job import Recommendation, ResolvedJob
    from deepsynth.run.run import Run
    from deepsynth.run.step import Plan

HERE = Path(__file__).parent


def _measure(job: SummarizeJob) -> list[Source]:
    """Find and size the data; this also finds data and models that cannot work."""
    from deepsynth.families.summarize.model import check_model_name
    from deepsynth.families.summarize.sources import find_sources

    check_model_name(job)
    return find_sources(job.data)


def _recommend(job: SummarizeJob, sources: list[Source]) -> list[Recommendation]:
    from deepsynth.families.summarize.recommend import recommendations
    from deepsynth.families.summarize.sources import pinned

    rows = sum(source.rows for source in sources)
    samples = max(1, min(rows, job.data.max_train_samples or rows))
    devices = max(1, job.gpus)
    advice = recommendations(job.train, samples, job.lora, devices, scratch=job.is_scratch)
    return [*advice, *pinned(job.data, sources)]


def _plan(resolved: ResolvedJob) -> Plan:
    from deepsynth.families.summarize.plan import plan

    return plan(resolved)


def _headline(final: dict[str, Any]) -> list[str]:
    low, high = final["rougeL_low"], final["rougeL_high"]
    lines = [
        f"ROUGE-L {final['rougeL']:.3f} (95 % interval {low:.3f}-{high:.3f}), ROUGE-1 "
        f"{final['rouge1']:.3f}, ROUGE-2 {final['rouge2']:.3f} on {final['samples']} documents of "
        f"the {final['split']} split; {final['empty_rate']:.0%} empty"
    ]
    for baseline in final["baselines"]:
        lines.append(f"  {baseline['what']}: ROUGE-L {baseline['rougeL']:.3f}")
    lines += final["remarks"]
    return lines


def _predict(run: Run, texts: Sequence[str], file: Path | None) -> Iterator[dict[str, Any]]:
    from deepsynth.families.summarize.predict import predict

    return predict(run, texts, file)


def _show(answer: dict[str, Any]) -> str:
    return f"{answer['summary']}  ({answer['pages']} pages)"


_LOADING = """from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

processor = AutoProcessor.from_pretrained("{base}")
model = AutoModelForImageTextToText.from_pretrained("{base}")
model = PeftModel.from_pretrained(model, "{repo}")"""


def _card(run: Run) -> ModelCard:
    from deepsynth.hub.model_card import ModelCard

    return ModelCard(
        task="image-text-to-text",
        library="peft",
        purpose="reads page images of a document and writes a summary of it",
        loading=_LOADING,
    )


FAMILY = Family(
    name="summarize",
    summary="teach a vision-language model to summarise documents it sees as pages",
    job="deepsynth.families.summarize.job:SummarizeJob",
    measure=_measure,
    recommend=_recommend,
    plan=_plan,
    headline=_headline,
    predict=_predict,
    show=_show,
    template=HERE / "template",
    verbs=(
        Verb(
            "deepsynth.families.summarize.cli:presets",
            "Show the LoRA presets, or what is recommended for a number of samples, with the "
            "reasons.",
            groups.LOOK,
        ),
    ),
    flags="deepsynth.families.summarize.flags:DatasetFlags",
    metrics=(Metric("rougeL", "ROUGE-L", "higher"),),
    card=_card,
)
