"""`reading.jsonl` of a run: the ground truth as the check read it, so that no later step parses it.

A line for each page that is used, by its split; the check has parsed its XML and hashed its image.
Later steps open images only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.families.htr.ground_truth.model import Line, Page, Point, Region
from deepsynth.run.run import Run

READING = "reading.jsonl"
_KEPT = ("format", "version", "image_name", "width", "height", "unit")


@dataclass(frozen=True)
class Reading:
    """The pages a run uses.

    Attributes:
        shares: Names of the XML files of each split, or of each fold.
        pages: Each page by that name, a path below the ground truth folder.
        skipped: Files left out, with the reason.
    """

    shares: Mapping[str, Sequence[str]]
    pages: Mapping[str, Page]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def write(self, run: Run) -> None:
        """Write `reading.jsonl` of a run."""
        entries: list[dict[str, Any]] = [{"shares": self.shares, "skipped": self.skipped}]
        entries += [_plain(name, page) for name, page in self.pages.items()]
        lines = (json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for entry in entries)
        durable.write_text(run.path / READING, "".join(f"{line}\n" for line in lines))


def read_reading(run: Run, folder: Path) -> Reading:
    """What the check of a run read.

    Args:
        run: The run.
        folder: Where the ground truth is now.
    """
    head, *entries = durable.read_lines(run.path / READING)
    pages = {entry["name"]: _page(entry, folder) for entry in entries}
    return Reading(head["shares"], pages, head["skipped"])


def _plain(name: str, page: Page) -> dict[str, Any]:
    """A page as plain data; points lie flat in a list, which is read back much faster."""
    lines = [
        [line.id, line.text, _flat(line.baseline), _flat(line.polygon), line.tags]
        for line in page.lines
    ]
    regions = [[region.id, region.type, _flat(region.polygon)] for region in page.regions]
    kept = {key: getattr(page, key) for key in _KEPT}
    return {"name": name, **kept, "lines": lines, "regions": regions}


def _page(entry: dict[str, Any], folder: Path) -> Page:
    lines = tuple(
        Line(name, text, _points(baseline), _points(polygon), tuple(tags))
        for name, text, baseline, polygon, tags in entry["lines"]
    )
    regions = tuple(Region(name, kind, _points(shape)) for name, kind, shape in entry["regions"])
    kept = {key: entry[key] for key in _KEPT}
    return Page(path=folder / entry["name"], lines=lines, regions=regions, **kept)


def _flat(points: Sequence[Point]) -> list[int]:
    return [value for point in points for value in point]


def _points(flat: Sequence[int]) -> tuple[Point, ...]:
    return tuple(zip(flat[::2], flat[1::2], strict=True))
