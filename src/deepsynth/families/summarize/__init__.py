"""`summarize`: a vision-language model learns to summarise documents it sees as pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth.evaluation.comparison import shown_interval
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
    from deepsynth.families.summarize.continuing import adapter_of, continued
    from deepsynth.families.summarize.recommend import recommendations
    from deepsynth.families.summarize.sources import pinned

    rows = sum(source.rows for source in sources)
    samples = max(1, min(rows, job.data.max_train_samples or rows))
    devices = max(1, job.gpus)
    config = job.trainer_config(job.model)
    earlier = adapter_of(job.model)
    if earlier is not None and not job.trains_fully:
        config = continued(config, earlier)
    advice = recommendations(
        config,
        samples,
        config.lora,
        devices,
        scratch=job.is_scratch,
        earlier=earlier is not None,
    )
    return [*advice, *pinned(job.data, sources)]


def _plan(resolved: ResolvedJob) -> Plan:
    from deepsynth.families.summarize.plan import plan

    return plan(resolved)


def _headline(final: dict[str, Any]) -> list[str]:
    lines = [f"{found['severity'].capitalize()}: {found['what']}" for found in final["findings"]]
    if "rougeL" in final:
        interval = shown_interval(final["rougeL_low"], final["rougeL_high"])
        lines.append(
            f"ROUGE-L {final['rougeL']:.3f}{interval}, ROUGE-1 {final['rouge1']:.3f}, ROUGE-2 "
            f"{final['rouge2']:.3f} on {final['samples']} documents of the {final['split']} split; "
            f"{final['distinct']} different summaries, {final['empty_rate']:.0%} empty, "
            f"{final['ended_rate']:.0%} ended by themselves"
        )
    lines += [f"  {baseline['compared']}" for baseline in final["baselines"]]
    return [*lines, *final["remarks"]]


def _predict(run: Run, texts: Sequence[str], files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    from deepsynth.families.summarize.predict import predict

    return predict(run, texts, files)


def _show(answer: dict[str, Any]) -> str:
    return f"{answer['summary']}  ({answer['pages']} pages)"


def card_of(run: Run) -> ModelCard:
    """What the card of a model says: with its figures, what they must be held against."""
    from deepsynth.hub.model_card import ModelCard

    final = run.final_metrics() or {}
    said = [found["what"] for found in final.get("findings", [])]
    compared = [f"- {baseline['compared']}" for baseline in final.get("baselines", [])]
    if compared:
        said.append("Beside it, on the same documents:\n\n" + "\n".join(compared))
    return ModelCard(
        task="image-text-to-text",
        library="peft",
        purpose="reads page images of a document and writes a summary of it",
        loading=_LOADING,
        beside="\n\n".join([*said, *final.get("remarks", [])]),
    )


_LOADING = """from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

processor = AutoProcessor.from_pretrained("{base}")
model = AutoModelForImageTextToText.from_pretrained("{base}")
model = PeftModel.from_pretrained(model, "{repo}")"""

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
    card=card_of,
)
