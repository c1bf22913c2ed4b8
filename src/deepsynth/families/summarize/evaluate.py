"""Step `evaluate`: load what was exported in this fresh process, score it, and show it.

Writes `metrics.json`, `evaluation/` (every summary, expert usage) and `report.html`. Adapter and
merged model must have the loss the training process had, and write the same summaries.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.errors import DataError
from deepsynth.families.summarize.batches import PageCollator, generate, mean_loss
from deepsynth.families.summarize.export import (
    check_same_loss,
    check_same_outputs,
    compare_outputs,
)
from deepsynth.families.summarize.job import SummarizeJob
from deepsynth.families.summarize.metrics import lead, score
from deepsynth.families.summarize.model import autocast, page_view
from deepsynth.families.summarize.moe import counting_experts, usage_report
from deepsynth.families.summarize.prepared import (
    exported,
    load_adapted,
    load_start,
    load_whole,
    read_samples,
    start_config,
    to_device,
)
from deepsynth.families.summarize.report import write_report
from deepsynth.families.summarize.samples import PageSamples
from deepsynth.families.summarize.train import REFERENCE
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run
from deepsynth.training.arguments import choose_precision


class Judge:
    """Scores models on the same samples, one after the other, with progress over all of them.

    Args:
        run: Whose settings.
        samples: What is summarised.
        count: How many of them.
        models: How many models will be judged.
    """

    def __init__(self, run: Run, samples: PageSamples, count: int, models: int) -> None:
        self._run = run
        self._job = run.job(SummarizeJob)
        self._samples = samples
        self._count = count
        self._total = count * models
        self._done = 0
        self.reference: dict[str, Any] = durable.read_json(run.path / "training" / REFERENCE)
        self._reference_samples = read_samples(run, "evaluate", self.reference["split"])
        self.references = [samples.summaries()[index] for index in range(count)]

    def summaries(self, model: Any, collator: PageCollator, note: str) -> tuple[list[str], Any]:
        """What a model writes, and which experts it used for that."""
        evaluation = self._job.evaluation
        with counting_experts(model) as usage, self._autocast():
            written = generate(
                model,
                collator,
                self._samples,
                list(range(self._count)),
                batch_size=evaluation.batch_size,
                max_new_tokens=evaluation.max_new_tokens,
                progress=self._advance(note),
            )
        self._done += self._count
        return written, usage

    def figures(self, written: list[str]) -> dict[str, Any]:
        """ROUGE and the rest of some summaries."""
        return score(
            written,
            self.references,
            resamples=self._job.evaluation.bootstrap_samples,
            seed=self._job.seed,
        )

    def loss(self, model: Any, collator: PageCollator) -> float:
        """Loss on the samples the training process measured its own on."""
        reference = self.reference
        with self._autocast():
            return mean_loss(
                model,
                collator,
                self._reference_samples,
                reference["samples"],
                reference["batch_size"],
            )

    def _advance(self, note: str) -> Callable[[int], None]:
        def tell(done: int) -> None:
            self._run.progress("evaluate", self._done + done, self._total, "summaries", note)

        return tell

    def _autocast(self) -> Any:
        return autocast(self.reference["precision"])


def main(run: Run) -> None:
    """Score the model of a run and write the report."""
    job = run.job(SummarizeJob)
    samples, split = _evaluated(run, job)
    count = min(job.evaluation.max_samples, len(samples))
    config = start_config(run, "evaluate")
    folders = exported(run)
    judge = Judge(run, samples, count, len(folders) + job.evaluation.baselines)
    precision = choose_precision(config.mixed_precision)
    written: dict[str, list[str]] = {}
    losses: dict[str, float] = {}
    usage: dict[str, Any] = {}
    for name, folder in folders.items():
        model, processor = (
            load_adapted(run, "evaluate", folder)
            if name == "adapter"
            else load_whole(folder, config)
        )
        collator = _collator(processor, job, samples)
        to_device(model)
        losses[name] = judge.loss(model, collator)
        check_same_loss(name, judge.reference["loss"], losses[name], precision)
        written[name], usage[name] = judge.summaries(model, collator, name)
        del model
        gc.collect()
    first = next(iter(written))
    final: dict[str, Any] = {"split": split, **judge.figures(written[first])}
    final["export"] = {"trained_loss": judge.reference["loss"], "losses": losses}
    if len(written) == 2:
        merged = judge.figures(written["merged"])
        alike = compare_outputs(written["adapter"], written["merged"])
        check_same_outputs(final, merged, alike, precision)
        final["export"] |= {"merged_rougeL": merged["rougeL"], **alike}
    untrained: list[str] = []
    experts: list[dict[str, Any]] = []
    final["baselines"] = []
    if job.evaluation.baselines:
        model, processor = load_start(run, "evaluate")
        collator = _collator(processor, job, samples)
        untrained, before = judge.summaries(to_device(model), collator, "before training")
        experts = usage_report(before, usage[first])
        texts = [str(samples.row(index).get("text") or "") for index in range(count)]
        final["baselines"] = [
            {"what": "the first three sentences", **judge.figures([lead(t) for t in texts])},
            {"what": "the model before training", **judge.figures(untrained)},
        ]
    final["remarks"] = remarks(job, split)
    final["training"] = durable.read_json(run.path / "training" / "summary.json")
    folder = run.path / "evaluation"
    folder.mkdir(exist_ok=True)
    _write_summaries(folder / "summaries.jsonl", samples, written[first], untrained)
    durable.write_json(folder / "experts.json", experts)
    durable.write_json(run.path / "metrics.json", final)
    write_report(run, final, samples, written[first], untrained, experts)


def remarks(job: SummarizeJob, split: str) -> list[str]:
    """What must be said beside the figures so that nobody takes them for more than they are."""
    said: list[str] = []
    if split == "train":
        said.append(
            "These documents were shown in training: the figures say how well they were "
            "memorised, nothing about other documents."
        )
    if job.is_scratch:
        said.append(
            "The model started from random weights: this proves that the machinery works, "
            "not what a summariser can do."
        )
    return said


def _evaluated(run: Run, job: SummarizeJob) -> tuple[PageSamples, str]:
    samples = read_samples(run, "evaluate", job.evaluation.split)
    if len(samples):
        return samples, job.evaluation.split
    raise DataError(
        f"the {job.evaluation.split} split is empty.",
        where="evaluation.split",
        hint="Hold something out (data.test_share), or set evaluation.split: train, which shows "
        "only what was memorised.",
    )


def _collator(processor: Any, job: SummarizeJob, samples: PageSamples) -> PageCollator:
    view = page_view(processor, samples[0].pages[0].size, job.pages.tiles)
    return PageCollator(processor, view, job.prompt, job.train.max_target_tokens)


def _write_summaries(
    path: Path, samples: PageSamples, written: list[str], untrained: list[str]
) -> None:
    lines: list[str] = []
    for index, text in enumerate(written):
        row = {
            "where": samples.where(index),
            "reference": samples.summaries()[index],
            "summary": text,
        }
        if untrained:
            row["before_training"] = untrained[index]
        lines.append(json.dumps(row, ensure_ascii=False))
    durable.write_text(path, "\n".join(lines) + "\n")


if __name__ == "__main__":
    step_process(main)
