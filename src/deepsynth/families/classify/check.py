"""Step `check`: everything worth knowing about data, budget and learning before training.

Writes `checks/findings.json`; an error finding ends the run, since training would be wasted.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, cast

import numpy as np

from deepsynth.checks import Finding, Severity
from deepsynth.checks.ledger import check_ledger, ledger
from deepsynth.checks.report import (
    read_findings,
    record_measured,
    refuse_errors,
    write_findings,
)
from deepsynth.data.neardup import normalise
from deepsynth.families.classify.job import ClassifyJob
from deepsynth.families.classify.method import choose_method
from deepsynth.families.classify.models import (
    build_model,
    load_config,
    load_tokenizer,
    usable_length,
)
from deepsynth.families.classify.prepared import Split, model_path, read_labels, read_split
from deepsynth.families.classify.trainer import (
    ClassifierTrainer,
    EncodedTexts,
    classifier_trainer,
)
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run

FEW_EXAMPLES = 10
IMBALANCE = 10.0
TRUNCATED_SHARE = 0.05
UNKNOWN_SHARE = 0.05
_SAMPLE = 20_000


def check_classes(splits: dict[str, Split], labels: list[str]) -> list[Finding]:
    """Rows by class: too few, missing from a split, or far from balanced."""
    findings: list[Finding] = []
    counts = {name: Counter(split.labels) for name, split in splits.items()}
    few = [label for i, label in enumerate(labels) if 0 < counts["train"][i] < FEW_EXAMPLES]
    if few:
        findings.append(
            Finding(
                Severity.WARNING,
                "class-few",
                "train",
                f"{len(few)} of {len(labels)} classes have fewer than {FEW_EXAMPLES} "
                "training texts.",
                "Collect more of them, or merge them into a neighbouring class.",
                tuple(few[:5]),
            )
        )
    for name in splits:
        absent = [label for i, label in enumerate(labels) if counts[name][i] == 0]
        if absent:
            findings.append(
                Finding(
                    Severity.ERROR if name == "train" else Severity.WARNING,
                    "class-absent",
                    name,
                    f"{len(absent)} classes have no text in the {name} split.",
                    "Collect more texts of these classes."
                    if name == "train"
                    else "Their scores cannot be measured; collect more texts of these classes.",
                    tuple(absent[:5]),
                )
            )
    present = [count for count in counts["train"].values() if count]
    ratio = max(present) / min(present)
    shown = ", ".join(f"{labels[i]} {n}" for i, n in counts["train"].most_common(8))
    findings.append(Finding(Severity.INFO, "class-counts", "train", f"Texts by class: {shown}."))
    if ratio >= IMBALANCE:
        findings.append(
            Finding(
                Severity.WARNING,
                "class-imbalance",
                "train",
                f"The largest class is {ratio:.0f} times the smallest.",
                "Set train.class_weights: balanced, and read macro-F1 rather than accuracy.",
            )
        )
    return findings


def check_duplicates(splits: dict[str, Split], labels: list[str]) -> list[Finding]:
    """Repeated texts within the splits, and texts that carry two labels."""
    findings: list[Finding] = []
    rows = [
        (name, text, label, place, group)
        for name, split in splits.items()
        for text, label, place, group in zip(
            split.texts, split.labels, split.places, split.groups, strict=True
        )
    ]
    by_text: dict[str, list[int]] = defaultdict(list)
    by_group: dict[int, list[int]] = defaultdict(list)
    for index, (_, text, _, _, group) in enumerate(rows):
        by_text[normalise(text)].append(index)
        by_group[group].append(index)
    exact = sum(len(found) - 1 for found in by_text.values())
    near = sum(len(found) - 1 for found in by_group.values()) - exact
    for code, count, what in (
        ("duplicate-exact", exact, "texts repeat another one exactly, up to case and punctuation"),
        ("duplicate-near", near, "texts are near-duplicates of another one (90 % of characters)"),
    ):
        if count:
            share = count / len(rows)
            findings.append(
                Finding(
                    Severity.WARNING if share > 0.05 else Severity.INFO,
                    code,
                    "data",
                    f"{count} {what} ({share:.1%}); none of them crosses a split.",
                    "Repeated texts count twice in the loss; remove them if they are accidents."
                    if share > 0.05
                    else "",
                )
            )
    crossing = [found for found in by_group.values() if len({rows[i][0] for i in found}) > 1]
    if crossing:
        findings.append(
            Finding(
                Severity.ERROR,
                "split-leak",
                "data",
                f"{len(crossing)} groups of near-duplicates cross the splits.",
                "This is a fault of ours; please report it.",
                tuple(rows[found[0]][3] for found in crossing[:5]),
            )
        )
    torn = [found for found in by_text.values() if len({rows[i][2] for i in found}) > 1]
    if torn:
        examples = tuple(
            f"{' / '.join(rows[i][3] for i in found[:3])}: "
            f"{' or '.join(sorted({labels[rows[i][2]] for i in found}))}"
            for found in torn[:5]
        )
        findings.append(
            Finding(
                Severity.WARNING,
                "label-conflict",
                "data",
                f"{len(torn)} texts carry two different labels.",
                "Decide for one label; no model can learn both.",
                examples,
            )
        )
    return findings


def check_tokens(split: Split, tokenizer: Any, max_length: int) -> list[Finding]:
    """Tokens of each text, the share that is cut off, and characters the model does not know."""
    texts = split.texts[:_SAMPLE]
    ids = tokenizer(texts)["input_ids"]
    lengths = np.array([len(row) for row in ids])
    cut = float((lengths > max_length).mean())
    middle, high, top = np.percentile(lengths, [50, 95, 100]).astype(int)
    findings = [
        Finding(
            Severity.INFO,
            "tokens",
            "train",
            f"Tokens of a text: {middle} in the middle, 95 % up to {high}, longest {top}; "
            f"{cut:.1%} are cut at max_length {max_length}.",
        )
    ]
    if cut > TRUNCATED_SHARE:
        findings.append(
            Finding(
                Severity.WARNING,
                "tokens-truncated",
                "tokens.max_length",
                f"{cut:.0%} of the texts lose their end.",
                f"Set tokens.max_length: {high} if the model allows it.",
            )
        )
    unknown = sum(row.count(tokenizer.unk_token_id) for row in ids) / lengths.sum()
    if unknown > UNKNOWN_SHARE:
        findings.append(
            Finding(
                Severity.WARNING,
                "tokens-unknown",
                "model",
                f"{unknown:.0%} of the tokens are unknown to this model.",
                "Take a model made for the language of these texts.",
            )
        )
    return findings


def check_training(
    run: Run, job: ClassifyJob, splits: dict[str, Split], labels: list[str]
) -> list[Finding]:
    """The method and the tokens; of a fine-tuning also ledger, budget and the learn gate."""
    if job.is_tfidf:
        what = "A linear model on the TF-IDF of words, fitted exactly; no encoder, no passes."
        return [Finding(Severity.INFO, "method", "model", what)]
    name = model_path(run, "check")
    tokenizer = load_tokenizer(job, name, splits["train"].texts)
    config = load_config(job, name, tokenizer, labels)
    max_length = usable_length(config, tokenizer, job.tokens.max_length)
    findings = check_tokens(splits["train"], tokenizer, max_length)
    model = build_model(job, name, config, job.seed)
    method = choose_method(job, model, len(splits["train"]))
    if method.probe:
        what = "first a linear head on the encoder as it came"
        what += ", then fine-tuning from it" if method.finetune else ", and no fine-tuning"
        findings.append(
            Finding(Severity.INFO, "method", "train.method", f"{what.capitalize()}: {method.why}.")
        )
    if not method.finetune:
        return findings
    with tempfile.TemporaryDirectory() as folder:
        trainer = classifier_trainer(
            job,
            model,
            tokenizer,
            splits,
            Path(folder),
            max_length=max_length,
            solved=False,
        )
        return findings + check_fine_tuning(job, trainer, splits["train"])


def check_fine_tuning(job: ClassifyJob, trainer: ClassifierTrainer, train: Split) -> list[Finding]:
    """Ledger and budget of a training and, if asked, the gate, with its optimiser and batches."""
    import torch

    from deepsynth.checks.budget import check_budget, probe
    from deepsynth.checks.learn import check_learning, overfit_one_batch

    said, model = job.train, cast(Any, trainer.model)
    batch_size, rate = cast(int, said.batch_size), cast(float, said.learning_rate)
    accumulation = said.gradient_accumulation or 1
    entry = ledger(
        len(train),
        batch_size,
        accumulation,
        cast(float, said.epochs),
        learning_rate=rate,
        warmup_ratio=said.warmup_ratio or 0.0,
        scheduler=said.scheduler or "linear",
    )
    classes = model.config.num_labels
    findings = check_ledger(entry, rate, classes)
    texts = cast(EncodedTexts, trainer.train_dataset)
    rows = list(np.random.default_rng(job.seed).permutation(len(texts)))
    longest = sorted(rows, key=lambda row: len(texts.input_ids[row]))[-batch_size:]
    batches = [rows[start : start + batch_size] for start in range(0, 4 * batch_size, batch_size)]

    def batch(of: list[int]) -> dict[str, Any]:
        found: Any = trainer.data_collator([texts[row] for row in of])
        return dict(found.to(trainer.args.device))

    sampled = [batch(found) for found in [*batches, longest] if found]
    budget = probe(model, sampled, entry.updates * accumulation)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 1e9
    findings += check_budget(budget, job.check.memory_gb or memory)
    if job.check.learn:
        learned = overfit_one_batch(
            model,
            sampled[0],
            learning_rate=rate,
            optimiser=trainer.create_optimizer(),
            classes=classes,
            precision=trainer.compute_loss_context_manager,
        )
        findings += check_learning(learned)
    return findings


def main(run: Run) -> None:
    """Check the prepared data of a run against its job."""
    job = run.job(ClassifyJob)
    labels = read_labels(run)
    splits = {name: read_split(run, name) for name in ("train", "validation", "test")}
    findings = read_findings(run.path / "data")
    findings += check_classes(splits, labels)
    findings += check_duplicates(splits, labels)
    findings += check_training(run, job, splits, labels)
    record_measured(run, "check", findings)
    write_findings(run.path / "checks", findings)
    refuse_errors(findings)


if __name__ == "__main__":
    step_process(main)
