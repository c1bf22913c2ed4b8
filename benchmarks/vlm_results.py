"""What `vlm.py` measured, as a table and as curves."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

WAYS = ("naive", "trainer", "ours")


def table(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a way: median speed and memory, and both relative to the naive loop."""
    rows: list[dict[str, Any]] = []
    for way in WAYS:
        own = [run for run in runs if run["way"] == way]
        rows.append(
            {
                "way": way,
                "samples_per_second": statistics.median(r["samples_per_second"] for r in own),
                "peak_gb": statistics.median(r["peak_gb"] for r in own),
                "encode_seconds": statistics.median(r["encode_seconds"] for r in own),
            }
        )
    for row in rows:
        row["speed_to_naive"] = row["samples_per_second"] / rows[0]["samples_per_second"]
        row["speed_to_trainer"] = row["samples_per_second"] / rows[1]["samples_per_second"]
        row["memory_to_naive"] = row["peak_gb"] / rows[0]["peak_gb"]
    return rows


def draw_curves(runs: list[dict[str, Any]], size: str, path: Path) -> None:
    """The losses of all ways, laid over each other; every round is drawn."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    styles = {
        "naive": ("#9aa5b1", "-", 5),
        "trainer": ("#d97706", "-", 3),
        "ours": ("#1d4ed8", "--", 1.5),
    }
    for way, (colour, line, width) in styles.items():
        for number, run in enumerate(r for r in runs if r["way"] == way):
            losses = run["losses"]
            label = {"naive": "hand-written loop", "trainer": "plain Trainer", "ours": "DeepSynth"}[
                way
            ]
            axes.plot(
                range(1, len(losses) + 1),
                losses,
                line,
                color=colour,
                linewidth=width,
                label=None if number else label,
            )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("updates")
    axes.set_ylabel("training loss")
    axes.set_title(f"Same documents, same order ({size})", fontsize=10)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Software": None})
