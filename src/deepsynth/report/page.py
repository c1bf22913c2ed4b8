"""Rendering a page: one self-contained HTML file, without a script or a request.

A page extends `base.html.j2` (blocks `title`, `style` and `main`) and may include
`details.html.j2`, which folds away the findings of the checks and the settings of the run.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth import durable
from deepsynth.checks.report import read_findings
from deepsynth.job.job import Setting
from deepsynth.run.run import Run

if TYPE_CHECKING:
    from jinja2 import Environment
    from PIL.Image import Image

_SIGNATURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"<svg": "image/svg+xml"}


def templates(folder: Path, *, html: bool, **filters: Callable[..., str]) -> Environment:
    """The templates of a folder, and below them the shared ones of this room.

    A name that is missing is an error, a line that holds only a block leaves no trace.

    Args:
        folder: Where the templates lie.
        html: Whether values are escaped for HTML; text for a shell or a program is not, and what
            writes it quotes each value itself.
        **filters: Functions a template may apply to a value.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # bash writes ${#array[@]}, which would begin a comment.
        comment_start_string="{#" if html else "{##",
    )
    environment.filters |= filters
    return environment


def render(template: Path, **values: Any) -> str:
    """The text of an HTML page; a template may call the functions among `values`."""
    return templates(template.parent, html=True).get_template(template.name).render(values)


def write_report(run: Run, template: Path, **values: Any) -> None:
    """Write `report.html` of a run.

    Args:
        run: The run; the template is given its `name`, `findings` and `settings`.
        template: Of the family.
        **values: What else the template shows.
    """
    page = render(
        template,
        name=run.path.name,
        findings=read_findings(run.path / "checks"),
        settings=shown_settings(run.settings),
        **values,
    )
    durable.write_text(run.path / "report.html", page)


def shown_settings(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """The settings, with folders of this machine cut down to their last part."""
    return {
        key: replace(setting, value=Path(setting.value).name)
        if isinstance(setting.value, str) and Path(setting.value).is_absolute()
        else setting
        for key, setting in settings.items()
    }


def data_url(picture: bytes | Path) -> str:
    """A picture (PNG, JPEG or SVG) as it stands in a page that needs no other file."""
    data = picture.read_bytes() if isinstance(picture, Path) else picture
    kind = next(kind for start, kind in _SIGNATURES.items() if data.startswith(start))
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def data_url_of(image: Image) -> str:
    """The same for a picture that is open."""
    stream = BytesIO()
    image.save(stream, "PNG", optimize=True)
    return data_url(stream.getvalue())
