"""`report.html` of a recognition run: one self-contained page for people who read manuscripts."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth import durable
from deepsynth.checks.report import read_findings
from deepsynth.job.job import Setting

if TYPE_CHECKING:
    from deepsynth.families.htr.prepared import Manifest
    from deepsynth.families.htr.scores import ScoredLine
    from deepsynth.run.run import Run

_CONFUSIONS = 30
_CURVES = {
    "cer": "character error rate on the validation pages",
    "baseline_f1": "F1 of the baselines on the validation pages",
}
_WIDTH, _HEIGHT, _MARGIN = 720, 220, 36


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
    """` (95 % interval 2.9-4.1 %)`, or nothing when one page made an interval impossible."""
    found = final.get(f"{name}_interval")
    return f" (95 % interval {100 * found[0]:.1f}-{100 * found[1]:.1f} %)" if found else ""


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
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from deepsynth.families.htr import scores

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    shown = [
        {
            "line": lines[index],
            "base": base[index] if base else None,
            "difference": scores.difference(lines[index].truth, lines[index].prediction),
            "picture": _inline(run.path / "evaluation" / f"worst-{number:02d}.png"),
        }
        for number, index in enumerate(worst)
    ]
    page = environment.get_template("report.html.j2").render(
        name=run.path.name,
        final=final,
        where=_where(final),
        interval=interval,
        manifest=manifest,
        pages=scores.page_rates(lines),
        count_pages=pages,
        confusions=scores.confusions(lines)[:_CONFUSIONS],
        worst=shown,
        curve=draw_curve(run.metrics()),
        findings=read_findings(run.path / "checks"),
        settings=shown_settings(run.resolved.settings),
    )
    durable.write_text(run.path / "report.html", page)


def shown_settings(settings: dict[str, Setting]) -> dict[str, Setting]:
    """The settings, with folders of this machine cut down to their last part."""
    return {
        key: replace(setting, value=Path(setting.value).name)
        if isinstance(setting.value, str) and Path(setting.value).is_absolute()
        else setting
        for key, setting in settings.items()
    }


def draw_curve(metrics: Sequence[dict[str, Any]], figure: str = "cer") -> dict[str, Any] | None:
    """A figure on the validation pages after each pass, as points of an SVG line.

    Each fold has its own line. None when there is nothing to draw.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    for point in metrics:
        if point.get(figure) is not None:
            curves.setdefault(point["step"], []).append((point["epoch"], point[figure]))
    curves = {name: points for name, points in curves.items() if len(points) > 1}
    if not curves:
        return None
    last = max(epoch for points in curves.values() for epoch, _ in points)
    top = max(0.01, *(min(1.0, value) for points in curves.values() for _, value in points))

    def place(epoch: float, value: float) -> str:
        x = _MARGIN + (epoch - 1) / max(1, last - 1) * (_WIDTH - 2 * _MARGIN)
        y = _HEIGHT - _MARGIN - min(1.0, value) / top * (_HEIGHT - 2 * _MARGIN)
        return f"{x:.1f},{y:.1f}"

    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "margin": _MARGIN,
        "title": _CURVES[figure],
        "last": int(last),
        "top": percent(top),
        "lines": [
            " ".join(place(epoch, value) for epoch, value in points) for points in curves.values()
        ],
    }


def _inline(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
