"""Findings about data, budget and learning, made before anything expensive runs."""

from deepsynth.checks.finding import Finding, Severity, worst

__all__ = ["Finding", "Severity", "worst"]
