"""A page of line images as the network gets them, with their text beside."""

from __future__ import annotations

import base64
import io
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth import durable
from deepsynth.families.htr.ground_truth import (
    Line,
    NotGroundTruth,
    Page,
    open_image,
    read_page,
    scan_folder,
)

if TYPE_CHECKING:
    from deepsynth.families.htr.lines import PageImage

_SHOWN_HEIGHT = 48


def write_gallery(
    folder: Path,
    target: Path,
    *,
    lines: int = 100,
    height: int = _SHOWN_HEIGHT,
    seed: int = 42,
) -> int:
    """Write an HTML page of lines chosen at random, in the order of pages.

    Args:
        folder: Ground truth.
        target: The HTML file; replaced.
        lines: How many lines to show at most.
        height: Height the network scales lines to, in pixels.
        seed: Decides which lines.

    Returns:
        Lines shown, those that cannot be cut out included.

    Raises:
        DataError: No such folder, or no XML file in it.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages: list[Page] = []
    for path in scan_folder(folder).documents:
        try:
            pages.append(read_page(path))
        except NotGroundTruth:
            continue
    every = [(page, line) for page in pages for line in page.lines if line.text.strip()]
    chosen = sorted(random.Random(seed).sample(range(len(every)), min(lines, len(every))))
    rows: list[dict[str, Any]] = []
    opened: tuple[Page, Any] | None = None
    for index in chosen:
        page, line = every[index]
        if opened is None or opened[0] is not page:
            opened = page, _open(page)
        rows.append(_row(folder, page, line, opened[1], height))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("gallery.html.j2").render(
        name=folder.name, rows=rows, total=len(every), height=height
    )
    durable.write_text(target, html)
    return len(rows)


def _open(page: Page) -> PageImage | str:
    """The page, or why it cannot be opened."""
    from deepsynth.families.htr.lines import PageImage

    try:
        return PageImage(open_image(page.image))
    except NotGroundTruth as problem:
        return problem.what


def _row(
    folder: Path, page: Page, line: Line, image: PageImage | str, height: int
) -> dict[str, Any]:
    from PIL.Image import Resampling

    from deepsynth.families.htr.lines import LostLine, extract_line

    row = {
        "place": f"{page.path.relative_to(folder).as_posix()} {line.id}",
        "text": line.text,
        "picture": "",
        "problem": "",
    }
    if isinstance(image, str):
        return {**row, "problem": image}
    try:
        cut = extract_line(image, line)
    except LostLine as problem:
        return {**row, "problem": str(problem)}
    width = max(1, int(cut.width * height / cut.height))
    stream = io.BytesIO()
    cut.resize((width, height), Resampling.LANCZOS).save(stream, "PNG")
    row["picture"] = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    return row
