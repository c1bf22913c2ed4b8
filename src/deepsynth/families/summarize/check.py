"""Step `check`: everything worth knowing about pages, budget and learning before training.

Writes `checks/findings.json` and `checks/preview.html` (one document as the model gets it); an
error finding ends the run, since training would be wasted.
"""

from __future__ import annotations

from deepsynth.checks import Finding, Severity
from deepsynth.checks.ledger import check_ledger
from deepsynth.checks.report import (
    read_findings,
    record_measured,
    refuse_errors,
    write_findings,
)
from deepsynth.families.summarize.batches import PageCollator
from deepsynth.families.summarize.check_drawn import check_drawn
from deepsynth.families.summarize.check_pages import (
    check_geometry,
    check_mask,
    check_pages,
    check_size,
    check_summaries,
)
from deepsynth.families.summarize.job import SummarizeJob, TrainerConfig
from deepsynth.families.summarize.lora import count_trainable, empty_model, place_lora
from deepsynth.families.summarize.memory import memory_estimate, readable_size
from deepsynth.families.summarize.model import load_processor, model_config, page_view
from deepsynth.families.summarize.prepared import (
    drawn_settings,
    pages_drawn,
    read_samples,
    start_config,
)
from deepsynth.families.summarize.recommend import expected_updates
from deepsynth.families.summarize.report import write_preview
from deepsynth.families.summarize.session import base_of
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run
from deepsynth.training.arguments import choose_precision

_BATCH_SIZES = (1, 2, 4, 8, 16)


def check_budget(
    config: TrainerConfig, base: str, prompt_tokens: int, target_tokens: int
) -> list[Finding]:
    """What trains, counted on the meta device, and the memory of each batch size."""
    import torch

    architecture = model_config(base, config.model_revision, config.trust_remote_code)
    model = empty_model(architecture)
    if config.preset != "none":
        model = place_lora(model, config.lora)
    precision = choose_precision(config.mixed_precision)
    if precision != "no":
        model.to(torch.bfloat16)
    counted = count_trainable(model)
    batches = sorted({*_BATCH_SIZES, config.batch_size or 1})
    table = [
        memory_estimate(model, config, prompt_tokens, precision, batch, target_tokens)
        for batch in batches
    ]
    shown = ", ".join(f"{m.batch_size}: {readable_size(m.total)}" for m in table)
    findings = [
        Finding(Severity.INFO, "trainable", "model", f"{counted}."),
        Finding(
            Severity.INFO,
            "memory",
            "train.batch_size",
            f"Estimated memory by batch size: {shown}.",
        ),
    ]
    chosen = next(m for m in table if m.batch_size == config.batch_size)
    if chosen.exceeds_device() and config.gradient_checkpointing is False:
        findings.append(
            Finding(
                Severity.ERROR,
                "memory-short",
                "train.batch_size",
                f"Training takes {chosen}; the GPU has less.",
                "Lower train.batch_size and raise train.gradient_accumulation, or set "
                "train.gradient_checkpointing: auto.",
            )
        )
    return findings


def main(run: Run) -> None:
    """Check the prepared pages of a run against its job and model."""
    job = run.job(SummarizeJob)
    findings = read_findings(run.path / "data")
    splits = {
        name: samples
        for name in ("train", "validation", "test")
        if len(samples := read_samples(run, "check", name))
    }
    for number, (name, samples) in enumerate(splits.items()):
        run.progress("check", number, len(splits), "splits", "pages")
        findings += check_pages(samples, name)
    if job.evaluation.split not in splits:
        findings.append(
            Finding(
                Severity.ERROR,
                "split-empty",
                "evaluation.split",
                f"The {job.evaluation.split} split is empty: nothing could be scored after "
                "training.",
                f"Hold something out (data.test_share), or evaluate on {' or '.join(splits)}.",
            )
        )
    folder = run.path / "checks"
    if any(finding.severity is Severity.ERROR for finding in findings):
        # Nothing below can be said of pages that cannot be read.
        write_findings(folder, findings)
        refuse_errors(findings)
    train = splits["train"]
    config = start_config(run, "check")
    base, _ = base_of(config, run.path / "base", train.summaries)
    model_config(base, config.model_revision, config.trust_remote_code)
    processor = load_processor(base, config.model_revision, config.trust_remote_code)
    pages = [sample for sample in train.pages() if sample]
    view = page_view(processor, pages[0][0].size, config.tiles)
    collator = PageCollator(processor, view, config.prompt, config.max_target_tokens)
    mean = sum(map(len, pages)) / len(pages)
    findings += check_geometry(view, mean)
    limit = config.max_new_tokens or collator.generation_limit(train.summaries())
    scored = job.evaluation.split
    findings += check_size(splits[scored], scored, sum(map(len, splits.values())))
    drawn = drawn_settings(pages_drawn(run), job.pages)
    longest = 0
    for name, samples in splits.items():
        found, high = check_summaries(samples, name, collator, limit)
        findings += [*found, *check_drawn(samples, name, drawn)]
        longest = max(longest, high)
    found, preview = check_mask(train, collator)
    findings += found
    entry = expected_updates(config, len(train), max(1, job.gpus))
    findings += check_ledger(entry, config.learning_rate or 0.0)
    prompt_tokens = round(view.tokens * max(map(len, pages)))
    findings += check_budget(config, base, prompt_tokens, longest)
    folder.mkdir(exist_ok=True)
    write_preview(run, train, preview)
    if job.check.learn and not any(f.severity is Severity.ERROR for f in findings):
        from deepsynth.families.summarize.learn import check_learns

        findings += check_learns(run, job, config, train)
    record_measured(run, "check", findings)
    write_findings(folder, findings)
    refuse_errors(findings)


if __name__ == "__main__":
    step_process(main)
