"""PAGE 2013 to 2019: the format of Transkribus and, on demand, of eScriptorium."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import Any

from deepsynth.families.htr.ground_truth.model import Line, Page, Point, Region, whole

# neither looks twice at what it has seen, however long a file makes it
_STRUCTURE = re.compile(r"structure\s*+\{[^{}]*?type:\s*+([^;}]+)")
_POINT = re.compile(r"(-?+(?<!\d)\d++(?:\.\d++)?),(-?\d++(?:\.\d++)?)")


def read(path: Path, root: Any) -> Page:
    """The page that a PAGE document describes.

    Args:
        path: The file, for messages and to find the image beside it.
        root: Its parsed root element.
    """
    page = root.find(".//{*}Page")
    attributes = {} if page is None else page.attrib
    lines = tuple(_line(element) for element in root.iterfind(".//{*}TextLine"))
    regions = tuple(
        Region(
            id=element.get("id") or "",
            type=_structure(element) or element.get("type") or "text",
            polygon=points(element.find("{*}Coords")),
        )
        for element in root.iter("{*}*")
        if isinstance(element.tag, str) and element.tag.endswith("Region")
    )
    return Page(
        path=path,
        format="page",
        version=_version(root),
        image_name=(attributes.get("imageFilename") or "").strip(),
        width=whole(attributes.get("imageWidth")),
        height=whole(attributes.get("imageHeight")),
        unit="pixel",
        lines=lines,
        regions=regions,
    )


def points(element: Any) -> tuple[Point, ...]:
    """Points of a `Coords` or `Baseline` element; none when it is absent or holds none."""
    text = "" if element is None else element.get("points") or ""
    pairs = ((whole(x), whole(y)) for x, y in _POINT.findall(text))
    return tuple(point for point, _ in groupby(pairs))


def line_text(element: Any) -> str:
    """The first transcription of a `TextLine`, or its words where the line has none of its own."""
    whole = element.find("{*}TextEquiv")
    source = element if whole is None else whole
    return "".join(part.text or "" for part in source.iterfind(".//{*}Unicode"))


def _line(element: Any) -> Line:
    structure = _structure(element)
    return Line(
        id=element.get("id") or "",
        text=line_text(element),
        baseline=points(element.find("{*}Baseline")),
        polygon=points(element.find("{*}Coords")),
        tags=(structure,) if structure else (),
        source_line=element.sourceline or 0,
        alternatives=max(1, len(element.findall("{*}TextEquiv"))),
    )


def _structure(element: Any) -> str:
    found = _STRUCTURE.search(element.get("custom") or "")
    return found.group(1).strip() if found else ""


def _version(root: Any) -> str:
    namespace = root.tag[1:].split("}")[0] if root.tag.startswith("{") else ""
    return namespace.rsplit("/", 1)[-1]
