"""A page of line images as the network gets them, with their text beside."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepsynth import durable
from deepsynth.errors import DataError, RequestError
from deepsynth.families import load_job
from deepsynth.families.htr.ground_truth.images import open_image
from deepsynth.families.htr.ground_truth.model import Line, NotGroundTruth, Page
from deepsynth.families.htr.ground_truth.pages import read_page, scan_folder
from deepsynth.families.htr.job import HtrJob
from deepsynth.families.htr.kraken.model_file import read_model
from deepsynth.report.page import data_url_of, render

if TYPE_CHECKING:
    from deepsynth.families.htr.lines.lines import PageImage

LINES = 100
"""Lines a gallery shows when nobody says how many."""

_SHOWN_HEIGHT = 48


def preview_lines(source: Path, output: Path, count: int | None) -> Path | None:
    """The gallery of what `deepsynth preview` is asked for, if that is ground truth.

    Args:
        source: A job of htr, or a folder of ALTO or PAGE files.
        output: Folder of the gallery, made if needed.
        count: Lines to show; `LINES` when None.

    Returns:
        The HTML file; None when the source is something else.

    Raises:
        RequestError: A count under 1.
        JobError: A job file that cannot be read.
        DataError: No line to show.
    """
    height = _SHOWN_HEIGHT
    if source.suffix in (".yaml", ".yml") and source.is_file():
        job = load_job(source).job
        if not isinstance(job, HtrJob):
            return None
        folder, height = Path(job.data.ground_truth), _height(job)
    elif source.is_dir() and any(source.rglob("*.xml")):
        folder = source
    else:
        return None
    if count is not None and count < 1:
        raise RequestError(f"{count} lines are none", where="--count")
    output.mkdir(parents=True, exist_ok=True)
    target = output / f"{folder.resolve().name}.html"
    write_gallery(folder, target, lines=LINES if count is None else count, height=height)
    return target


def _height(job: HtrJob) -> int:
    """The height of the lines the job's network reads, in pixels."""
    if job.model and job.task == "recognition":
        return read_model(Path(job.model), job.task).input_shape[0] or _SHOWN_HEIGHT
    spec = (job.train.spec or "").strip("[ ").split(",")
    return int(spec[1]) if len(spec) > 1 and spec[1].isdigit() else _SHOWN_HEIGHT


def write_gallery(
    folder: Path,
    target: Path,
    *,
    lines: int = LINES,
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
        DataError: No such folder, no XML file in it, or no transcribed line.
    """
    pages: list[Page] = []
    for path in scan_folder(folder).documents:
        try:
            pages.append(read_page(path))
        except NotGroundTruth:
            continue
    every = [(page, line) for page in pages for line in page.lines if line.text.strip()]
    if not every:
        raise DataError(
            "no page has a transcribed line", where=folder, hint="deepsynth check says more."
        )
    chosen = sorted(random.Random(seed).sample(range(len(every)), min(lines, len(every))))
    rows: list[dict[str, Any]] = []
    opened: tuple[Page, Any] | None = None
    for index in chosen:
        page, line = every[index]
        if opened is None or opened[0] is not page:
            opened = page, _open(page)
        rows.append(_row(folder, page, line, opened[1], height))
    html = render(
        Path(__file__).with_name("gallery.html.j2"),
        name=folder.name,
        rows=rows,
        total=len(every),
        height=height,
    )
    durable.write_text(target, html)
    return len(rows)


def _open(page: Page) -> PageImage | str:
    """The page, or why it cannot be opened."""
    from deepsynth.families.htr.lines.lines import PageImage

    try:
        return PageImage(open_image(page.image))
    except NotGroundTruth as problem:
        return problem.what


def _row(
    folder: Path, page: Page, line: Line, image: PageImage | str, height: int
) -> dict[str, Any]:
    from PIL.Image import Resampling

    from deepsynth.families.htr.lines.lines import LostLine, extract_line

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
    row["picture"] = data_url_of(cut.resize((width, height), Resampling.LANCZOS))
    return row
