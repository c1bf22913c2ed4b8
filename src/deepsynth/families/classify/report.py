"""`report.html`: one self-contained page a manager can read."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deepsynth import durable
from deepsynth.checks.report import read_findings
from deepsynth.families.classify.pictures import draw_curve
from deepsynth.job.job import Setting
from deepsynth.run.run import Run


def write_report(run: Run, final: dict[str, Any], mistakes: list[dict[str, Any]]) -> None:
    """Write the page of a run from its figures, pictures and findings."""
    folder = run.path / "evaluation"
    draw_curve(
        folder / "training_curve.png", durable.read_json(run.path / "training" / "curve.json")
    )
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        name=run.path.name,
        final=final,
        mistakes=mistakes,
        manifest=durable.read_json(run.path / "data" / "manifest.json"),
        findings=read_findings(run.path / "checks"),
        confusion=_inline(folder / "confusion_matrix.png"),
        curve=_inline(folder / "training_curve.png"),
        settings=_shown_settings(run),
    )
    durable.write_text(run.path / "report.html", page)


def _shown_settings(run: Run) -> dict[str, Setting]:
    """The settings, with folders of this machine cut down to their last part."""
    return {
        key: replace(setting, value=Path(setting.value).name)
        if isinstance(setting.value, str) and Path(setting.value).is_absolute()
        else setting
        for key, setting in run.resolved.settings.items()
    }


def _inline(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
