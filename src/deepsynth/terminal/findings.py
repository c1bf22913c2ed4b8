"""Printing findings for people, worst first."""

from __future__ import annotations

from rich.text import Text

from deepsynth.checks import Finding, Severity
from deepsynth.checks.report import by_severity
from deepsynth.terminal.console import Console

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "dim"}


def print_findings(findings: list[Finding]) -> None:
    """Print findings on standard output, worst first, and count them."""
    console = Console()
    for finding in by_severity(findings):
        label = finding.severity.name.lower()
        line = Text.assemble((f"{label:8}", _COLOURS[finding.severity]), f"{finding.where}: ")
        line.append(finding.what)
        console.print(line, soft_wrap=True)
        for detail in (*finding.examples, finding.fix):
            if detail:
                console.print(Text(f"          {detail}", style="dim"), soft_wrap=True)
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    warnings = sum(finding.severity is Severity.WARNING for finding in findings)
    console.print(f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}")
