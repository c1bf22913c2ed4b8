"""The steps of a `summarize` run, as command lines: prepare, check, train, export, evaluate."""

from __future__ import annotations

from typing import cast

from deepsynth.families.summarize.job import SummarizeJob
from deepsynth.families.summarize.sources import is_pages, pinned_places
from deepsynth.job.job import ResolvedJob, is_place
from deepsynth.run.step import Plan, Resources, Step
from deepsynth.storage import local_path

_MODEL_GB = 8.0
"""Weights of DeepSeek-OCR-2 in 16 bits, rounded up."""
_NOT_LEARNED_FROM = ("cache_dir", "cache_max_gb", "num_workers")
"""Where features are cached, how batches are loaded: it does not decide what is learned."""


def plan(resolved: ResolvedJob) -> Plan:
    """The steps of a resolved job, whose datasets are pinned."""
    job = cast(SummarizeJob, resolved.job)
    values = job.model_dump()
    data = {"data": job.data.path} if job.data.path else {}
    read = data if job.data.path and is_pages(local_path(job.data.path)) else {}
    model = {"model": job.model} if is_place(job.model) else {}
    named = {} if is_place(job.model) else {"model": job.model, "revision": job.revision}
    font = {"font": job.pages.font} if job.pages.font else {}
    pages = {key: value for key, value in values["pages"].items() if key != "font"}
    inputs = ["data", *(["base"] if job.is_scratch else [])]
    shared = {
        **named,
        **{key: values[key] for key in ("seed", "prompt", "train", "lora", "moe")},
        "pages": pages,
        "trust_remote_code": job.trust_remote_code,
        "max_new_tokens": job.evaluation.max_new_tokens,
    }
    shared["train"] = {k: v for k, v in values["train"].items() if k not in _NOT_LEARNED_FROM}
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
            sources={**data, **font},
            outputs=inputs,
            settings={
                "seed": job.seed,
                "data": {key: value for key, value in values["data"].items() if key != "path"},
                "pages": pages,
                "places": pinned_places(job.data),
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
            argv=_argv("train"),
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


def _argv(step: str) -> list[str]:
    return ["{python}", "-m", f"deepsynth.families.summarize.{step}", "{run}"]
