"""Step `check`: look at the whole ground truth before anything is compiled or trained.

Writes `checks/findings.json`, `checks/ground_truth.json` (counts and alphabet), and, for the steps
after it, `reading.jsonl`: the pages as read, and how they are shared out. An error finding ends
the run, unless the job accepts its code in `data.allow_findings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from deepsynth import durable
from deepsynth.checks import Finding, Severity
from deepsynth.checks.report import refuse_errors, write_findings
from deepsynth.families.htr.ground_truth.folder_checks import REFUSED, check_ground_truth
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
    codec = read_model(base, job.task).characters if base and job.task == "recognition" else None
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
    write_findings(run.path / "checks", findings)
    durable.write_json(run.path / "checks" / "ground_truth.json", result.as_dict())
    for finding in findings:
        say(f"{finding.severity.name.lower()}: {finding.where}: {finding.what}. {finding.fix}")
    refuse_errors(findings)
    shares = {name: pages for name, pages in result.shares.items() if pages}
    used = {name: result.usable[name] for pages in shares.values() for name in pages}
    Reading(shares, used, result.skipped).write(run)


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
