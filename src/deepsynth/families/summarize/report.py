"""`report.html`: figures, pages with reference and output side by side, one self-contained file."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deepsynth import durable
from deepsynth.checks.report import read_findings
from deepsynth.families.summarize.job import SummarizeJob
from deepsynth.families.summarize.prepared import rows_of
from deepsynth.job import Setting
from deepsynth.run import Run
from deepsynth.training.summary_metrics import rouge
from deepsynth.training.vlm_data import Page, PageSamples, decode_page

_THUMBNAIL = 640
"""Side of a page in the gallery, in pixels; type of 16 px on a page of 1024 stays readable."""
_PAGES_SHOWN = 2


def write_report(
    run: Run,
    final: dict[str, Any],
    samples: PageSamples,
    written: list[str],
    untrained: list[str],
    experts: list[dict[str, Any]],
) -> None:
    """Write the page of a run.

    Args:
        run: Whose.
        final: What `metrics.json` holds.
        samples: What was summarised.
        written: By the trained model.
        untrained: By the model before training; empty when it was not asked.
        experts: The expert-usage report.
    """
    job = cast(SummarizeJob, run.resolved.job)
    count = min(job.evaluation.gallery, len(written))
    gallery = [
        {
            "where": samples.where(index),
            "pages": [page_picture(page) for page in samples[index].pages[:_PAGES_SHOWN]],
            "more": max(0, len(samples[index].pages) - _PAGES_SHOWN),
            "reference": samples.summaries()[index],
            "written": written[index],
            "before": untrained[index] if untrained else None,
            "rougeL": rouge(written[index], samples.summaries()[index])["rougeL"],
        }
        for index in range(count)
    ]
    curve = durable.read_json(run.path / "training" / "curve.json") or []
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            name=run.path.name,
            final=final,
            rows=rows_of(run),
            gallery=gallery,
            experts=experts,
            curve=_curve(curve),
            findings=read_findings(run.path / "checks"),
            settings=_shown_settings(run),
        )
    )
    durable.write_text(run.path / "report.html", page)


def page_picture(page: Page) -> str:
    """A page as a data URL, small enough to put a dozen into one file."""
    image = decode_page(page.data).convert("L")
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _curve(points: list[dict[str, Any]]) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    for key, label, style in (
        ("loss", "training loss", "-"),
        ("eval_loss", "validation loss", "o-"),
        ("eval_rougeL", "validation ROUGE-L", "s--"),
    ):
        found = [(p["update"], p[key]) for p in points if p.get(key) is not None]
        if found:
            axes.plot(*zip(*found, strict=True), style, label=label, markersize=3)
    axes.set_xlabel("updates")
    axes.legend(frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown_settings(run: Run) -> dict[str, Setting]:
    """The settings, with folders of this machine cut down to their last part."""
    return {
        key: replace(setting, value=Path(setting.value).name)
        if isinstance(setting.value, str) and Path(setting.value).is_absolute()
        else setting
        for key, setting in run.resolved.settings.items()
    }
