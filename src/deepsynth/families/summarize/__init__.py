"""`summarize`: a vision-language model learns to summarise documents it sees as pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from deepsynth.families.family import Family, Metric
from deepsynth.families.summarize.job import SummarizeJob
from deepsynth.hub.model_card import ModelCard
from deepsynth.job.job import Recommendation, ResolvedJob, is_place
from deepsynth.run.step import Plan, Resources, Step
from deepsynth.terminal import groups
from deepsynth.terminal.verb import Verb

if TYPE_CHECKING:
    from deepsynth.run.run import Run

HERE = Path(__file__).parent
_MODEL_GB = 8.0
"""Weights of DeepSeek-OCR-2 in 16 bits, rounded up."""


@dataclass(frozen=True)
class _Size:
    """Training samples, about, and the commit of `data.hub`."""

    samples: int
    commit: str | None


def _measure(job: SummarizeJob) -> _Size:
    """Size the data; this also finds data and models that cannot work."""
    from deepsynth.families.summarize.models import check_model_name
    from deepsynth.families.summarize.sources import sources_of

    check_model_name(job)
    sources = sources_of(job.data)
    rows = sum(source.rows for source in sources)
    limit = job.data.max_train_samples
    commit = sources[0].place.rpartition("@")[2] if job.data.hub else None
    return _Size(max(1, rows if limit is None else min(rows, limit)), commit)


def _recommend(job: SummarizeJob, size: _Size) -> list[Recommendation]:
    from deepsynth.families.summarize.recommend import recommendations

    devices = max(1, job.gpus)
    advice = recommendations(job.train, size.samples, job.lora, devices, scratch=job.is_scratch)
    if size.commit is not None:
        why = "the commit of the dataset when the run was made"
        advice.append(Recommendation("data.revision", size.commit, why, pins=True))
    return advice


def _plan(resolved: ResolvedJob) -> Plan:
    from deepsynth.families.summarize.sources import sources_of

    job = cast(SummarizeJob, resolved.job)
    values = job.model_dump()
    data = {"data": job.data.path} if job.data.path else {}
    in_run = not data or sources_of(job.data)[0].kind == "texts"
    read = {} if in_run else data
    model = {"model": job.model} if is_place(job.model) else {}
    named = {} if is_place(job.model) else {"model": job.model, "revision": job.revision}
    inputs = ["data", *(["base"] if job.is_scratch else [])]
    shared = {
        **named,
        **{key: values[key] for key in ("seed", "prompt", "pages", "train", "lora", "moe")},
        "trust_remote_code": job.trust_remote_code,
    }
    # Where features are cached, how batches are loaded and in how many processes does not decide
    # what is learned.
    shared["train"] = {
        key: value
        for key, value in values["train"].items()
        if key not in ("cache_dir", "cache_max_gb", "num_workers")
    }
    machine = Resources(
        cpus=8 if job.gpus else 2,
        memory_gb=4.0 if job.is_scratch else 4 * _MODEL_GB,
        gpus=0 if job.is_scratch else min(job.gpus, 1),
        minutes=24 * 60,
    )
    trained = ["model/merged"] if job.trains_fully else ["model/adapter"]
    steps = [
        Step(
            name="prepare",
            title="Preparing pages",
            argv=_argv("prepare"),
            sources=data,
            outputs=inputs,
            settings={
                "seed": job.seed,
                "data": {key: value for key, value in values["data"].items() if key != "path"},
                "pages": values["pages"],
                "places": [[s.place, s.sha256] for s in sources_of(job.data)] if not data else [],
                **({"model": job.model} if job.is_scratch else {}),
            },
            resources=Resources(cpus=4, memory_gb=8, minutes=8 * 60),
        ),
        Step(
            name="check",
            title="Checking pages, budget and learning",
            argv=_argv("check"),
            after=["prepare"],
            sources={**read, **model},
            inputs=inputs,
            outputs=["checks"],
            settings={**shared, "check": values["check"]},
            resources=machine,
        ),
        Step(
            name="train",
            title="Training",
            argv=_argv("launch" if job.gpus > 1 else "train"),
            after=["check"],
            sources={**read, **model},
            inputs=inputs,
            outputs=[*trained, "training"],
            settings=shared,
            resources=machine.model_copy(update={"gpus": 0 if job.is_scratch else job.gpus}),
        ),
    ]
    if job.export.merged and not job.trains_fully:
        steps.append(
            Step(
                name="export",
                title="Merging the adapter",
                argv=_argv("export"),
                after=["train"],
                sources=model,
                inputs=[*inputs[1:], "model/adapter"],
                outputs=["model/merged"],
                settings=named,
                resources=machine,
            )
        )
        trained.append("model/merged")
    steps.append(
        Step(
            name="evaluate",
            title="Summarising and scoring",
            argv=_argv("evaluate"),
            after=["check", steps[-1].name],
            sources={**read, **model},
            inputs=[*inputs, "checks", "training", *trained],
            outputs=["evaluation", "metrics.json", "report.html"],
            settings={"seed": job.seed, "prompt": job.prompt, "evaluation": values["evaluation"]},
            resources=machine,
        )
    )
    return Plan(steps=steps)


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


def _argv(step: str) -> list[str]:
    return ["{python}", "-m", f"deepsynth.families.summarize.{step}", "{run}"]


CARD = ModelCard(
    task="image-text-to-text",
    library="peft",
    purpose="reads page images of a document and writes a summary of it",
    loading="""from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

processor = AutoProcessor.from_pretrained("{base}")
model = AutoModelForImageTextToText.from_pretrained("{base}")
model = PeftModel.from_pretrained(model, "{repo}")""",
)

FAMILY = Family(
    name="summarize",
    summary="teach a vision-language model to summarise documents it sees as pages",
    job_type=SummarizeJob,
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
    card=lambda run: CARD,
)
