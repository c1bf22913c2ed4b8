"""Step `evaluate`: load what was exported in this fresh process, score it, and show it.

Writes `metrics.json`, `evaluation/` (every summary, expert usage) and `report.html`. Adapter and
merged model must have the loss the training process had, and write the same summaries.
"""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.errors import DataError, StepFailed
from deepsynth.families.summarize.baselines import best_constant, lead, nearest_summaries
from deepsynth.families.summarize.batches import PageCollator, Written
from deepsynth.families.summarize.controls import (
    LOOKED_AT,
    BlankPages,
    OtherPages,
    other_documents,
    require_own_summaries,
)
from deepsynth.families.summarize.export import (
    check_same_loss,
    check_same_outputs,
    check_same_start,
    compare_outputs,
)
from deepsynth.families.summarize.job import SummarizeJob
from deepsynth.families.summarize.judge import Judge
from deepsynth.families.summarize.model import page_view
from deepsynth.families.summarize.moe import usage_report
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
from deepsynth.families.summarize.samples import PageSamples, evenly
from deepsynth.families.summarize.train import TRAINED_ROWS
from deepsynth.families.summarize.verdict import (
    BLANK_PAGES,
    OTHER_PAGES,
    UNTRAINED,
    Answers,
    has_figure,
    judge_experts,
    judge_figures,
    remarks,
)
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run
from deepsynth.training.arguments import choose_precision

_KNOWN = 20_000
"""Training texts, evenly drawn, among which the nearest is looked for."""


@dataclass(frozen=True)
class Wrote:
    """What the trained model wrote, and what else its weights were asked while in memory.

    Attributes:
        summaries: By document.
        usage: Of its experts.
        swapped: From the pages of another document, for some of them.
        others: Whose pages these were.
        blank: From blank pages.
    """

    summaries: list[Written]
    usage: dict[str, list[int]]
    swapped: dict[int, Written]
    others: dict[int, int]
    blank: list[str]


def main(run: Run) -> None:
    """Score the model of a run and write the report."""
    job = run.job(SummarizeJob)
    samples, split = _evaluated(run, job)
    config = start_config(run, "evaluate")
    folders = exported(run)
    judge = Judge(run, samples, len(folders) + job.evaluation.baselines)
    if split != "train":
        require_unseen(run, samples, judge.chosen, split)
    precision = choose_precision(config.mixed_precision)
    wrote: dict[str, Wrote] = {}
    losses: dict[str, float] = {}
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
        wrote[name] = _ask(judge, model, collator, samples, name, controls=not wrote, job=job)
        del model
        gc.collect()
    ours = next(iter(wrote.values()))
    by_document = dict(zip(judge.chosen, ours.summaries, strict=True))
    require_own_summaries(by_document, ours.swapped, ours.others, precision)
    texts = [one.text for one in ours.summaries]
    figures = judge.figures(texts, judge.references)
    ended = sum(one.ended for one in ours.summaries) / len(ours.summaries)
    export: dict[str, Any] = {"trained_loss": judge.reference["loss"], "losses": losses}
    if len(wrote) == 2:
        second = [one.text for one in wrote["merged"].summaries]
        merged = judge.figures(second, judge.references)
        alike = compare_outputs(texts, second)
        check_same_outputs(figures, merged, alike, precision)
        export |= {"merged_rougeL": merged["rougeL"], **alike}
    untrained: list[str] = []
    experts: list[dict[str, Any]] = []
    answers = _controls(judge, ours, by_document, samples)
    if job.evaluation.baselines:
        model, processor = load_start(run, "evaluate")
        collator = _collator(processor, job, samples)
        to_device(model)
        check_same_start(judge.reference["start_loss"], judge.loss(model, collator), precision)
        before, usage = judge.summaries(model, collator, "before training")
        untrained = [one.text for one in before]
        experts = usage_report(usage, ours.usage)
        answers = [
            *_without_a_model(run, judge, texts, samples, split),
            Answers(UNTRAINED, untrained, texts, judge.references),
            *answers,
        ]
    baselines = [one.compared(judge.figures(one.texts, one.references), job) for one in answers]
    findings = judge_figures(split, figures, baselines, ended, judge.limit)
    findings += judge_experts(experts)
    if not has_figure(split, len(texts)):
        figures = {key: figures[key] for key in ("samples", "distinct", "empty_rate")}
        baselines = []
    training = durable.read_json(run.path / "training" / "summary.json")
    final = {
        "split": split,
        **figures,
        "ended_rate": round(ended, 4),
        "findings": [finding.as_dict() for finding in findings],
        "baselines": baselines,
        "export": export,
        "remarks": [*training["remarks"], *remarks(job, split)],
        "training": training,
    }
    folder = run.path / "evaluation"
    folder.mkdir(exist_ok=True)
    _write_summaries(folder / "summaries.jsonl", samples, by_document, untrained)
    durable.write_json(folder / "experts.json", experts)
    durable.write_json(run.path / "metrics.json", final)
    write_report(run, final, samples, by_document, untrained, experts)


def _ask(
    judge: Judge,
    model: Any,
    collator: PageCollator,
    samples: PageSamples,
    name: str,
    *,
    controls: bool,
    job: SummarizeJob,
) -> Wrote:
    """Let a trained model write, and, with `controls`, write without the right pages too."""
    written, usage = judge.summaries(model, collator, name)
    if not controls:
        return Wrote(written, usage, {}, {}, [])
    some = [judge.chosen[place] for place in evenly(LOOKED_AT, len(judge.chosen))]
    others = other_documents(some, job.seed)
    pages = OtherPages(samples, others)
    swapped = judge.write(model, collator, pages, list(others), "pages of another document")
    blank = BlankPages(samples)
    first = blank.representatives(judge.chosen)
    distinct = sorted(set(first.values()))
    nothing = judge.write(model, collator, blank, distinct, "blank pages")
    said = dict(zip(distinct, nothing, strict=True))
    return Wrote(
        written,
        usage,
        dict(zip(others, swapped, strict=True)),
        others,
        [said[first[index]].text for index in judge.chosen],
    )


def _controls(
    judge: Judge, ours: Wrote, by_document: dict[int, Written], samples: PageSamples
) -> list[Answers]:
    """The same model without the right pages."""
    found = [
        Answers(BLANK_PAGES, ours.blank, [one.text for one in ours.summaries], judge.references)
    ]
    if ours.others:
        found.append(
            Answers(
                OTHER_PAGES,
                [one.text for one in ours.swapped.values()],
                [by_document[index].text for index in ours.swapped],
                [samples.summaries()[index] for index in ours.swapped],
            )
        )
    return found


def _without_a_model(
    run: Run, judge: Judge, ours: list[str], samples: PageSamples, split: str
) -> list[Answers]:
    """Summaries that cost nothing; those taken from texts only where the data has texts."""
    train = read_samples(run, "evaluate", "train")
    constant = best_constant(train.summaries())
    found = {"the best constant summary": [constant] * len(ours)}
    known, texts = train.texts(), samples.texts()
    if known and texts:
        chosen = [texts[index] for index in judge.chosen]
        found["the first three sentences"] = [lead(text) for text in chosen]
        places = evenly(_KNOWN, len(known))
        if len(places) > (split == "train"):
            # A document is not its own nearest.
            own = {index: place for place, index in enumerate(places)} if split == "train" else {}
            found["the summary of the nearest training text"] = nearest_summaries(
                chosen,
                [known[index] for index in places],
                [train.summaries()[index] for index in places],
                [own.get(index) for index in judge.chosen],
            )
    return [Answers(what, said, ours, judge.references) for what, said in found.items()]


def require_unseen(run: Run, samples: PageSamples, chosen: list[int], split: str) -> None:
    """Refuse to score documents that the model was trained on.

    Raises:
        StepFailed: Some of those to be scored were, by their pages and summary.
    """
    trained = set((run.path / "training" / TRAINED_ROWS).read_text(encoding="utf-8").split())
    seen = [index for index in chosen if samples.identity(index) in trained]
    if seen:
        raise StepFailed(
            f"{len(seen)} of {len(chosen)} documents of the {split} split were trained on, such "
            f"as {samples.where(seen[0])}: figures on them would not be true.",
            where="step evaluate",
            hint="Prepare the data again in a new run.",
        )


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
    path: Path, samples: PageSamples, written: dict[int, Written], untrained: list[str]
) -> None:
    lines: list[str] = []
    for place, (index, one) in enumerate(written.items()):
        row = {
            "where": samples.where(index),
            "row": one.row,
            "reference": samples.summaries()[index],
            "summary": one.text,
            "ended": one.ended,
        }
        if untrained:
            row["before_training"] = untrained[place]
        lines.append(json.dumps(row, ensure_ascii=False))
    durable.write_text(path, "\n".join(lines) + "\n")


if __name__ == "__main__":
    step_process(main)
