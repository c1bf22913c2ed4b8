"""`report.html`: one self-contained page a manager can read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.report import page
from deepsynth.report.curve import Series, draw_curve
from deepsynth.run.run import Run

MOST_LABELS = 25
"""Above so many a matrix cannot be read, and the most confused pairs stand in its place."""


def write_report(run: Run, final: dict[str, Any], mistakes: list[dict[str, Any]]) -> None:
    """Write the page of a run from its figures, pictures and findings."""
    points: list[dict[str, Any]] = durable.read_json(run.path / "training" / "curve.json")
    loss = [(p["update"], p["loss"]) for p in points if p.get("loss") is not None]
    score = [
        (p["update"], p["eval_macro_f1"]) for p in points if p.get("eval_macro_f1") is not None
    ]
    page.write_report(
        run,
        Path(__file__).with_name("report.html.j2"),
        final=final,
        mistakes=mistakes,
        manifest=durable.read_json(run.path / "data" / "manifest.json"),
        confusion=page.data_url(run.path / "evaluation" / "confusion_matrix.png")
        if len(final["classes"]) <= MOST_LABELS
        else None,
        words=durable.read_json(run.path / "evaluation" / "words.json"),
        curve=draw_curve(
            [Series("training loss", loss), Series("validation macro-F1", score, share=True)],
            x="updates",
            y="loss",
        ),
    )
