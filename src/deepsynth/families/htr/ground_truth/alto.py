"""ALTO 2 to 4: the library community's page format, which eScriptorium exports."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import Any

from deepsynth.families.htr.ground_truth.model import Line, Page, Point, Region, whole

_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_BLOCKS = {"TextBlock": "text", "Illustration": "illustration", "GraphicalElement": "graphic"}


def read(path: Path, root: Any) -> Page:
    """The page that an ALTO document describes.

    Args:
        path: The file, for messages and to find the image beside it.
        root: Its parsed root element.
    """
    unit = (root.findtext(".//{*}MeasurementUnit") or "").strip()
    page = root.find(".//{*}Page")
    declared = {
        tag.get("ID"): tag.get("LABEL") or ""
        for tags in root.iterfind(".//{*}Tags")
        for tag in tags
        if isinstance(tag.tag, str)
    }
    undeclared: list[str] = []

    def labels(element: Any) -> tuple[str, ...]:
        references = (element.get("TAGREFS") or "").split()
        # What is unknown of a zone without lines, such as a margin, is lost to nobody.
        if next(element.iter("{*}TextLine"), None) is not None:
            undeclared.extend(ref for ref in references if ref not in declared)
        return tuple(declared[ref] for ref in references if declared.get(ref))

    lines = tuple(_line(element, labels) for element in root.iterfind(".//{*}TextLine"))
    regions = tuple(
        _region(element, kind, labels)
        for kind in _BLOCKS
        for element in root.iterfind(f".//{{*}}{kind}")
    )
    return Page(
        path=path,
        format="alto",
        version=_version(root),
        image_name=(root.findtext(".//{*}fileName") or "").strip(),
        width=0 if page is None else whole(page.get("WIDTH")),
        height=0 if page is None else whole(page.get("HEIGHT")),
        unit=unit or "pixel",
        lines=lines,
        regions=regions,
        undeclared_tags=tuple(dict.fromkeys(undeclared)),
    )


def points(text: str | None) -> tuple[Point, ...]:
    """Points of any of ALTO's spellings: `x y x y`, `x,y x,y`, `(x, y) (x, y)`.

    An odd count of numbers, such as the single height that `BASELINE` held before ALTO 4.1,
    gives no points. Points repeated in a row are kept once, as Kraken does.
    """
    numbers = [whole(found) for found in _NUMBER.findall(text or "")]
    if len(numbers) % 2:
        return ()
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return tuple(point for point, _ in groupby(pairs))


def line_text(element: Any) -> str:
    """The transcription of a `TextLine`: its strings, with a space for each SP."""
    parts = list(element.iter("{*}String", "{*}SP"))
    if not any(_is_string(part) for part in parts):
        return ""
    return "".join(part.get("CONTENT") or " " for part in parts)


def _is_string(element: Any) -> bool:
    return element.tag.rpartition("}")[2] == "String"


def _line(element: Any, labels: Any) -> Line:
    strings = [_is_string(part) for part in element.iter("{*}String", "{*}SP")]
    polygon = element.find("{*}Shape/{*}Polygon")
    return Line(
        id=element.get("ID") or "",
        text=line_text(element),
        baseline=points(element.get("BASELINE")),
        polygon=points(None if polygon is None else polygon.get("POINTS")),
        tags=labels(element),
        source_line=element.sourceline or 0,
        unspaced=len(strings) > 1 and all(strings),
    )


def _region(element: Any, kind: str, labels: Any) -> Region:
    polygon = element.find("{*}Shape/{*}Polygon")
    outline = points(None if polygon is None else polygon.get("POINTS"))
    if not outline:
        left, top = whole(element.get("HPOS")), whole(element.get("VPOS"))
        right, bottom = left + whole(element.get("WIDTH")), top + whole(element.get("HEIGHT"))
        if right > left and bottom > top:
            outline = ((left, top), (left, bottom), (right, bottom), (right, top))
    names = labels(element)
    return Region(
        id=element.get("ID") or "",
        type=names[0] if names else element.get("TYPE") or _BLOCKS[kind],
        polygon=outline,
    )


def _version(root: Any) -> str:
    namespace = root.tag[1:].split("}")[0] if root.tag.startswith("{") else ""
    found = re.search(r"ns-v(\d)", namespace)
    return found.group(1) if found else ""
