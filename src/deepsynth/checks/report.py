"""Findings as files, and the refusal that an error finding means."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.checks.finding import Finding, Severity
from deepsynth.errors import DataError

FINDINGS = "findings.json"


def write_findings(folder: Path, findings: Iterable[Finding]) -> None:
    """Write `findings.json` in `folder`, worst first."""
    folder.mkdir(parents=True, exist_ok=True)
    durable.write_json(folder / FINDINGS, [finding.as_dict() for finding in by_severity(findings)])


def read_findings(folder: Path) -> list[Finding]:
    """What `write_findings` wrote; empty when there is nothing."""
    entries: list[dict[str, Any]] = durable.read_json(folder / FINDINGS) or []
    return [Finding.from_dict(entry) for entry in entries]


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
