"""Step `check`: look at the whole ground truth before anything is compiled or trained.

Writes `checks/findings.json` and `checks/ground_truth.json` (counts and alphabet). An error
finding ends the run, unless the job accepts its code in `data.allow_findings`.
"""

from __future__ import annotations

from dataclasses import replace

from deepsynth import durable
from deepsynth.checks import Finding, Severity
from deepsynth.checks.report import refuse_errors, write_findings
from deepsynth.families.htr.ground_truth.folder_checks import check_ground_truth
from deepsynth.families.htr.kraken.model_file import read_model
from deepsynth.families.htr.prepare import share_out, usable_pages
from deepsynth.families.htr.prepared import base_model, ground_truth_folder, htr_job
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run


def main(run: Run) -> None:
    """Check the ground truth of a run, and refuse it when training would be wasted."""
    job = htr_job(run)
    folder = ground_truth_folder(run, "check")
    base = base_model(run, "check")
    codec = read_model(base, job.task).characters if base and job.task == "recognition" else None
    names, groups, _ = usable_pages(folder)
    shares = share_out(job, names, groups)
    splits = {name: split for split, pages in shares.items() for name in pages}
    result = check_ground_truth(
        folder,
        splits=splits,
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
        print(f"{finding.severity.name.lower()}: {finding.where}: {finding.what}. {finding.fix}")
    refuse_errors(findings)


def accept(finding: Finding, accepted: list[str]) -> Finding:
    """Turn an error the job accepts into a warning that says so."""
    if finding.severity is Severity.ERROR and finding.code in accepted:
        return replace(
            finding, severity=Severity.WARNING, what=f"{finding.what} (accepted by the job)"
        )
    return finding


if __name__ == "__main__":
    step_process(main)
