"""What can be wrong with one line: its id, its text, its baseline and its polygon."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

from deepsynth.checks import Finding, Severity
from deepsynth.families.htr.ground_truth import geometry
from deepsynth.families.htr.ground_truth.model import Line, Page

REPAIR = "`deepsynth repair` mends it in a copy."
EXAMPLES = 5
"""How many line ids a finding shows."""

JOINERS = "\u200c\u200d"
"""Zero-width (non-)joiners: format characters that Arabic and Indic writing needs."""

_OFF_POLYGON_PX = 5
_LEAST_RISE_PX = 8

LINE_FINDINGS: dict[str, tuple[Severity, str, str]] = {
    "id-missing": (Severity.WARNING, "without an id", "Export the page again with line ids."),
    "id-duplicate": (
        Severity.ERROR,
        "repeat the id of an earlier line; Kraken keeps only the last of them",
        REPAIR,
    ),
    "text-empty": (
        Severity.WARNING,
        "without text; they are left out of training",
        "Transcribe them; `deepsynth repair` removes them in a copy.",
    ),
    "text-whitespace": (
        Severity.WARNING,
        "with white space at an end, doubled, or other than a plain space",
        REPAIR,
    ),
    "text-control": (
        Severity.WARNING,
        "with control or invisible format characters",
        "Remove the characters named; a model would learn to write them. " + REPAIR,
    ),
    "text-private-use": (
        Severity.WARNING,
        "with private-use characters, which only one font can show",
        "Replace them by characters of Unicode (MUFI lists most of them).",
    ),
    "text-unspaced": (
        Severity.WARNING,
        "of several ALTO String elements without SP between: their words are glued together",
        "Export again with SP elements, or as PAGE.",
    ),
    "text-alternatives": (
        Severity.WARNING,
        "with several transcriptions; the first is used",
        "Keep one TextEquiv for each line.",
    ),
    "baseline-missing": (
        Severity.ERROR,
        "without a baseline; Kraken drops them silently",
        "Draw the baselines, or remove the lines: `deepsynth repair --drop-unusable`.",
    ),
    "baseline-point": (
        Severity.ERROR,
        "with a baseline of a single point; Kraken drops them silently",
        "Draw the baselines again, or remove the lines: `deepsynth repair --drop-unusable`.",
    ),
    "baseline-short": (
        Severity.ERROR,
        f"with a baseline under {geometry.MIN_BASELINE_PX} px; Kraken drops them silently",
        "Draw the baselines again, or remove the lines: `deepsynth repair --drop-unusable`.",
    ),
    "baseline-reversed": (
        Severity.ERROR,
        "with a baseline from right to left; they compile upside down",
        REPAIR,
    ),
    "baseline-outside-page": (
        Severity.ERROR,
        "with a baseline beyond the page; Kraken drops them silently",
        REPAIR,
    ),
    "baseline-outside-polygon": (
        Severity.WARNING,
        "with a baseline away from the line's own polygon",
        "Let the segmenter compute the polygons again, or move the baselines.",
    ),
    "polygon-missing": (
        Severity.ERROR,
        "without a polygon; Kraken drops them silently",
        "Let eScriptorium or Transkribus compute the line masks and export again.",
    ),
    "polygon-degenerate": (
        Severity.ERROR,
        "with a polygon of under three points or without area",
        "Let the segmenter compute the polygons again.",
    ),
    "polygon-cuts-letters": (
        Severity.WARNING,
        f"with a polygon that ends less than {_LEAST_RISE_PX} px above the baseline: the letters "
        "are cut off",
        "Let the segmenter compute the polygons again, or move the baselines below the letters.",
    ),
    "polygon-outside-page": (
        Severity.ERROR,
        "with a polygon beyond the page; Kraken drops them silently",
        REPAIR,
    ),
}


def line_findings(page: Page, size: tuple[int, int]) -> Iterator[Finding]:
    """One finding for each kind of trouble, with the ids of the first lines that have it.

    Args:
        page: The page as read.
        size: Width and height of its image in pixels; zeros when neither is known.
    """
    found: dict[str, list[Line]] = {}
    seen: set[str] = set()
    for line in page.lines:
        for code in _text_codes(line, seen):
            found.setdefault(code, []).append(line)
        if page.unit == "pixel":
            for code in _shape_codes(line, size):
                found.setdefault(code, []).append(line)
    for code, (severity, what, fix) in LINE_FINDINGS.items():
        lines = found.get(code)
        if lines:
            yield Finding(
                severity,
                code,
                f"{page.path}:{lines[0].source_line}",
                f"{len(lines)} of {len(page.lines)} lines {what}",
                fix,
                tuple(_label(line, code) for line in lines[:EXAMPLES]),
            )


def _label(line: Line, code: str) -> str:
    if code in ("text-control", "text-private-use"):
        wanted = ("Co",) if code == "text-private-use" else ("Cc", "Cf")
        odd = sorted({f"U+{ord(c):04X}" for c in line.text if _is_odd(c, wanted)})
        return f"{line.id} {' '.join(odd)}"
    return line.id


def _text_codes(line: Line, seen: set[str]) -> Iterable[str]:
    if not line.id:
        yield "id-missing"
    elif line.id in seen:
        yield "id-duplicate"
    seen.add(line.id)
    if not line.text.strip():
        yield "text-empty"
        return
    if has_odd_whitespace(line.text):
        yield "text-whitespace"
    if any(_is_odd(c, ("Cc", "Cf")) for c in line.text):
        yield "text-control"
    if any(_is_odd(c, ("Co",)) for c in line.text):
        yield "text-private-use"
    if line.unspaced:
        yield "text-unspaced"
    if line.alternatives > 1:
        yield "text-alternatives"


def _is_odd(character: str, categories: Iterable[str]) -> bool:
    if character.isspace() or character in JOINERS:
        return False
    return unicodedata.category(character) in categories


def has_odd_whitespace(text: str) -> bool:
    """Whether white space is at an end, doubled, or anything but U+0020."""
    return text != text.strip() or "  " in text or any(c != " " and c.isspace() for c in text)


def _shape_codes(line: Line, size: tuple[int, int]) -> Iterable[str]:
    width, height = size
    if not line.baseline:
        yield "baseline-missing"
    elif len(line.baseline) == 1:
        yield "baseline-point"
    elif geometry.length(line.baseline) < geometry.MIN_BASELINE_PX:
        yield "baseline-short"
    else:
        if geometry.is_reversed(line.baseline):
            yield "baseline-reversed"
        if width and geometry.outside(line.baseline, width, height):
            yield "baseline-outside-page"
    if not line.polygon:
        yield "polygon-missing"
        return
    if len(line.polygon) < 3 or geometry.area(line.polygon) < 1:
        yield "polygon-degenerate"
        return
    if width and geometry.outside(line.polygon, width, height):
        yield "polygon-outside-page"
    if line.baseline and not any(
        geometry.near(line.polygon, point, _OFF_POLYGON_PX) for point in line.baseline
    ):
        yield "baseline-outside-polygon"
    elif (
        len(line.baseline) > 1
        and not geometry.is_reversed(line.baseline)
        and geometry.rise(line.polygon, line.baseline) < _LEAST_RISE_PX
    ):
        yield "polygon-cuts-letters"
