"""`report.html` of a recognition run: one self-contained page for people who read manuscripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth.report import page
from deepsynth.report.curve import Series, draw_curve

if TYPE_CHECKING:
    from deepsynth.families.htr.prepared import Manifest
    from deepsynth.families.htr.scores import ScoredLine
    from deepsynth.run.run import Run

_CONFUSIONS = 30
_CURVES = {
    "cer": "character error rate on the validation pages",
    "baseline_f1": "F1 of the baselines on the validation pages",
}


def headline(final: dict[str, Any]) -> list[str]:
    """The figures in a line or two, for the end of a run."""
    if final["task"] == "segmentation":
        found = [
            f"{name} {final[key]:.3f}"
            for key, name in (
                ("baseline_f1", "baselines F1"),
                ("region_iou", "regions IoU"),
                ("mean_iou", "mean IoU"),
            )
            if final.get(key) is not None
        ]
        return [f"{', '.join(found)} on {pages(final['pages'], final['measured_on'])}"]
    text = f"CER {percent(final['cer'])}{interval(final, 'cer')}, WER {percent(final['wer'])} "
    text += f"on {final['lines']} lines of {_where(final)}"
    lines = [text]
    if "base_cer" in final:
        lines.append(
            f"the base model on the same lines: CER {percent(final['base_cer'])}, "
            f"WER {percent(final['base_wer'])}"
        )
    if final["measured_on"] == "validation":
        lines.append("These pages also chose the best epoch: the true score is a little worse.")
    return lines


def percent(share: float) -> str:
    """A share for people: `3.4 %`."""
    return f"{100 * share:.1f} %" if share >= 0.001 or share == 0 else f"{100 * share:.2f} %"


def interval(final: dict[str, Any], name: str) -> str:
    """` (95 % interval 2.9-4.1 %)`; nothing where too few pages leave none, or one of no width."""
    low, high = (f"{100 * end:.1f}" for end in final.get(f"{name}_interval") or (0, 0))
    return f" (95 % interval {low}-{high} %)" if low != high else ""


def pages(number: int, kind: str = "") -> str:
    """`1 page`, or `3 test pages`."""
    return " ".join(filter(None, (str(number), kind, "page" if number == 1 else "pages")))


def _where(final: dict[str, Any]) -> str:
    if final["measured_on"] == "cross-validation":
        return f"{pages(final['pages'])}, each read by a model that never saw it"
    return pages(final["pages"], final["measured_on"])


def write_report(
    run: Run,
    final: dict[str, Any],
    manifest: Manifest,
    lines: Sequence[ScoredLine],
    worst: Sequence[int],
    base: Sequence[ScoredLine],
) -> None:
    """Write the page from the figures and what the other steps left in the run.

    Args:
        run: The run.
        final: The content of `metrics.json`.
        manifest: Of the run's data.
        lines: Every line read.
        worst: Positions in `lines` of those to show, in the order of their pictures.
        base: The same lines read by the base model, or none.
    """
    from deepsynth.families.htr import scores

    shown = [
        {
            "line": lines[index],
            "base": base[index] if base else None,
            "difference": scores.difference(lines[index].truth, lines[index].prediction),
            "picture": page.data_url(run.path / "evaluation" / f"worst-{number:02d}.png"),
        }
        for number, index in enumerate(worst)
    ]
    page.write_report(
        run,
        Path(__file__).with_name("report.html.j2"),
        percent=percent,
        final=final,
        where=_where(final),
        interval=interval,
        manifest=manifest,
        pages=scores.page_rates(lines),
        count_pages=pages,
        confusions=scores.confusions(lines)[:_CONFUSIONS],
        worst=shown,
        curve=validation_curve(run.metrics(), "cer"),
    )


def write_segmentation_report(run: Run, final: dict[str, Any]) -> None:
    """Write the page of a segmentation run from its figures."""
    page.write_report(
        run,
        Path(__file__).with_name("report_segmentation.html.j2"),
        final=final,
        headline=headline(final),
        where=pages(final["pages"], final["measured_on"]),
        curve=validation_curve(run.metrics(), "baseline_f1"),
    )


def validation_curve(metrics: Sequence[dict[str, Any]], figure: str) -> str:
    """A figure on the validation pages after each pass; each fold has its own line."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for point in metrics:
        if point.get(figure) is not None:
            curves.setdefault(point["step"], []).append((point["epoch"], min(1.0, point[figure])))
    return draw_curve(
        [Series(name, points) for name, points in curves.items()], x="passes", y=_CURVES[figure]
    )
