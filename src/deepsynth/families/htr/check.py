"""Step `check`: look at the whole ground truth before anything is compiled or trained.

Writes `checks/findings.json`, `checks/ground_truth.json` (counts and alphabet), and, for the steps
after it, `reading.jsonl`: the pages as read, and how they are shared out. An error finding ends
the run, unless the job accepts its code in `data.allow_findings`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from deepsynth import durable
from deepsynth.checks import Finding, Severity
from deepsynth.checks.report import refuse_errors, write_findings
from deepsynth.families.htr.ground_truth.folder_checks import REFUSED, check_ground_truth
from deepsynth.families.htr.ground_truth.model import Page
from deepsynth.families.htr.ground_truth.splits import (
    SplitName,
    fold_pages,
    read_lists,
    split_pages,
)
from deepsynth.families.htr.job import HtrJob
from deepsynth.families.htr.kraken.model_file import read_model
from deepsynth.families.htr.prepared import base_model, ground_truth_folder, htr_job
from deepsynth.families.htr.reading import Reading
from deepsynth.printing import say
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run


def main(run: Run) -> None:
    """Check the ground truth of a run, and refuse it when training would be wasted."""
    job = htr_job(run)
    folder = ground_truth_folder(run, "check")
    base = base_model(run, "check")
    model = read_model(base, job.task) if base else None
    codec = model.characters if model and job.task == "recognition" else None
    result = check_ground_truth(
        folder,
        share_out=lambda names, groups: share_out(job, names, groups),
        codec=codec,
        normalization=job.data.normalization,
        rare=job.data.rare,
        progress=lambda done, total: run.progress("check", done, total, "files"),
    )
    findings = [accept(finding, job.data.allow_findings) for finding in result.findings]
    if job.task == "segmentation":
        findings = [finding for finding in findings if not finding.code.startswith("text-")]
        if model and job.train.resize == "union" and job.segmentation.line_classes is None:
            findings += doubled_types(model.line_types, result.pages)
    write_findings(run.path / "checks", findings)
    durable.write_json(run.path / "checks" / "ground_truth.json", result.as_dict())
    for finding in findings:
        say(f"{finding.severity.name.lower()}: {finding.where}: {finding.what}. {finding.fix}")
    refuse_errors(findings)
    shares = {name: pages for name, pages in result.shares.items() if pages}
    used = {name: result.usable[name] for pages in shares.values() for name in pages}
    Reading(shares, used, result.skipped).write(run)


def doubled_types(known: Collection[str], pages: Sequence[Page]) -> list[Finding]:
    """Whether a base model's line types stay beside others that the pages call differently.

    eScriptorium's `DefaultLine` is what Kraken's own model calls `default`: with both, every line
    is found twice, once as each.

    Args:
        known: Line types of the base model.
        pages: The ground truth.
    """
    used = Counter(
        line.tags[0] if line.tags else "default" for page in pages for line in page.lines
    )
    left_over = sorted(set(known) - set(used))
    strange = [name for name, _ in used.most_common() if name not in known]
    if not left_over or not strange:
        return []
    mapping = {strange[0]: left_over[0]} | {name: name for name in used if name != strange[0]}
    shown = ", ".join(f"{name}: {new}" for name, new in mapping.items())
    return [
        Finding(
            Severity.WARNING,
            "types-doubled",
            "segmentation.line_classes",
            f"the base model finds lines of type {', '.join(left_over)}, which no page has; the "
            f"pages have {', '.join(strange)}. With both, lines are found twice",
            f"If they are the same: segmentation.line_classes={{{shown}}}; if only those of the "
            "pages are wanted: train.resize=new.",
        )
    ]


def share_out(
    job: HtrJob, names: Sequence[str], groups: Mapping[str, str]
) -> Mapping[str, Sequence[str]]:
    """Names of the pages of each split, or of each fold."""
    split = job.split
    if split.is_listed:
        named: dict[SplitName, str | None] = {
            "train": split.train_list,
            "validation": split.validation_list,
            "test": split.test_list,
        }
        lists: dict[SplitName, Path | None] = {
            name: Path(path) if path else None for name, path in named.items()
        }
        return {**read_lists(names, lists)}
    if split.folds:
        folds = fold_pages(names, split.folds, seed=job.seed, groups=groups)
        return {f"fold-{index}": pages for index, pages in enumerate(folds)}
    return {
        **split_pages(
            names,
            validation=split.validation,
            test=split.test,
            seed=job.seed,
            by=split.by,
            groups=groups,
        )
    }


def accept(finding: Finding, accepted: list[str]) -> Finding:
    """Turn an error the job accepts into a warning that says so; splits there must be."""
    if finding.severity is Severity.ERROR and finding.code in accepted and finding.code != REFUSED:
        return replace(
            finding, severity=Severity.WARNING, what=f"{finding.what} (accepted by the job)"
        )
    return finding


if __name__ == "__main__":
    step_process(main)
