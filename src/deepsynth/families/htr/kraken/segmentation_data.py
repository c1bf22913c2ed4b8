"""Pages as Kraken's segmentation trainer wants them; runs in the environment `htr`."""

# Kraken and Lightning are in another environment, where the types are not checked.
# pyright: reportMissingImports=false, reportUntypedBaseClass=false
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kraken.containers import BaselineLine, Region, Segmentation

from deepsynth.errors import DataError
from deepsynth.families.htr.ground_truth.model import Page
from deepsynth.families.htr.ground_truth.pages import read_page

DEFAULT_LINE, DEFAULT_REGION = "default", "text"
FIRST_CLASS = 2
"""Kraken keeps 0 and 1 for the marks at the start and the end of a line."""


def page_segmentation(
    page: Page,
    line_classes: Mapping[str, str] | None,
    region_classes: Mapping[str, str] | None,
) -> Any:
    """One page with its types renamed; types not named are left out.

    Args:
        page: The page.
        line_classes: New name for each line type kept; None keeps all as they are.
        region_classes: The same for regions.
    """
    lines: list[Any] = []
    for line in page.lines:
        kind = line.tags[0] if line.tags else DEFAULT_LINE
        kept = kind if line_classes is None else line_classes.get(kind)
        if kept is None or len(line.baseline) < 2:
            continue
        lines.append(
            BaselineLine(
                id=line.id or f"line{len(lines)}",
                baseline=[tuple(point) for point in line.baseline],
                boundary=[tuple(point) for point in line.polygon] or None,
                tags={"type": [{"type": kept}]},
            )
        )
    regions: dict[str, list[Any]] = {}
    for region in page.regions:
        kind = region.type or DEFAULT_REGION
        kept = kind if region_classes is None else region_classes.get(kind)
        if kept is None or len(region.polygon) < 3:
            continue
        boundary = [tuple(point) for point in region.polygon]
        regions.setdefault(kept, []).append(Region(id=region.id, boundary=boundary))
    return Segmentation(
        type="baselines",
        imagename=str(page.image),
        text_direction="horizontal-lr",
        script_detection=True,
        lines=lines,
        regions=regions,
    )


def read_pages(
    folder: Path,
    names: Sequence[str],
    line_classes: Mapping[str, str] | None,
    region_classes: Mapping[str, str] | None,
) -> list[dict[str, Any]]:
    """The pages of a split, in the wrapping Kraken's data module takes.

    Raises:
        DataError: No page of them has a line or a region that is kept.
    """
    pages = [
        page_segmentation(read_page(folder / name), line_classes, region_classes) for name in names
    ]
    if not any(page.lines or page.regions for page in pages):
        raise DataError(
            "no line and no region of the types asked for is on these pages",
            where="segmentation.line_classes",
            hint="Look at the types the ground truth uses: deepsynth check.",
        )
    return [{"doc": page} for page in pages]


def class_indices(pages: Sequence[dict[str, Any]]) -> tuple[dict[str, int], dict[str, int]]:
    """Output channels of the line types and of the region types, in a stable order."""
    lines = sorted({line.tags["type"][0]["type"] for page in pages for line in page["doc"].lines})
    regions = sorted({kind for page in pages for kind in page["doc"].regions})
    line_indices = {name: FIRST_CLASS + i for i, name in enumerate(lines)}
    first = FIRST_CLASS + len(lines)
    return line_indices, {name: first + i for i, name in enumerate(regions)}
