"""Findings as files, and the refusal that an error finding means."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from deepsynth import durable
from deepsynth.checks.finding import Finding, Severity
from deepsynth.errors import DataError
from deepsynth.run.run import Run

FINDINGS = "findings.json"


class _Entry(BaseModel):
    """A finding as it is written."""

    model_config = ConfigDict(strict=True, extra="forbid")

    severity: Literal["error", "warning", "info"]
    code: str
    where: str
    what: str
    fix: str = ""
    examples: list[str] = []


def write_findings(folder: Path, findings: Iterable[Finding]) -> None:
    """Write `findings.json` in `folder`, worst first, without what was measured by the clock."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = [finding.as_dict() for finding in by_severity(findings) if not finding.measured]
    durable.write_json(folder / FINDINGS, kept)


def record_measured(run: Run, step: str, findings: Iterable[Finding]) -> None:
    """Put the findings that tell a measured time among the events of a run."""
    for finding in findings:
        if finding.measured:
            run.event("finding", step=step, finding=finding.as_dict())


def measured_findings(run: Run, step: str) -> list[Finding]:
    """What `record_measured` recorded when the step was done last."""
    found: list[Finding] = []
    for event in run.events():
        if event.get("step") == step and event["kind"] == "step_started":
            found = []
        elif event.get("step") == step and event["kind"] == "finding":
            found += _findings([event["finding"]])
    return found


def read_findings(folder: Path) -> list[Finding]:
    """What `write_findings` wrote; empty when there is nothing."""
    entries = durable.read_json(folder / FINDINGS)
    return _findings(entries if isinstance(entries, list) else [])


def _findings(entries: Iterable[Any]) -> list[Finding]:
    """Those that are findings: a run may come from anybody."""
    found: list[Finding] = []
    for entry in entries:
        with suppress(ValidationError):
            found.append(Finding.from_dict(_Entry.model_validate(entry).model_dump()))
    return found


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Worst first, otherwise in the order they were made."""
    return sorted(findings, key=lambda finding: -finding.severity)


def refuse_errors(findings: Iterable[Finding]) -> None:
    """Raise when there is an error finding.

    Raises:
        DataError: Says the first one, and how many more there are.
    """
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if not errors:
        return
    first = errors[0]
    more = f" {len(errors) - 1} more errors: deepsynth check lists all." if len(errors) > 1 else ""
    raise DataError(first.what, where=first.where, hint=f"{first.fix}{more}".strip())
