"""Small plane geometry of baselines and polygons, in pixels."""

from __future__ import annotations

from itertools import pairwise
from math import hypot, inf
from statistics import median

from deepsynth.families.htr.ground_truth.model import Point

MIN_BASELINE_PX = 5
"""Kraken drops lines with a shorter baseline (`extract_polygons`)."""


def length(baseline: tuple[Point, ...]) -> float:
    """Length of a polyline in pixels."""
    return sum(hypot(x2 - x1, y2 - y1) for (x1, y1), (x2, y2) in pairwise(baseline))


def is_reversed(baseline: tuple[Point, ...]) -> bool:
    """Whether the baseline runs right to left; such a line is dewarped upside down.

    Steep baselines (vertical writing) are left alone: there, left and right say nothing.
    """
    (x1, y1), (x2, y2) = baseline[0], baseline[-1]
    return x2 < x1 and abs(x2 - x1) > abs(y2 - y1)


def rise(polygon: tuple[Point, ...], baseline: tuple[Point, ...]) -> float:
    """How far a polygon reaches above the middle parts of a baseline, the median in pixels.

    Steep baselines (vertical writing) have no such height: infinity.
    """
    (x1, y1), (x2, y2) = baseline[0], baseline[-1]
    if abs(x2 - x1) <= abs(y2 - y1):
        return inf
    heights: list[float] = []
    for share in (0.2, 0.35, 0.5, 0.65, 0.8):
        x = x1 + share * (x2 - x1)
        base, edges = _crossings(baseline, x), _crossings((*polygon, polygon[0]), x)
        if base and edges:
            heights.append(base[0] - min(edges))
    return median(heights) if heights else inf


def _crossings(points: tuple[Point, ...], x: float) -> list[float]:
    """The heights at which a polyline crosses a vertical."""
    return [
        y1 + (y2 - y1) * (x - x1) / (x2 - x1)
        for (x1, y1), (x2, y2) in pairwise(points)
        if x1 != x2 and min(x1, x2) <= x <= max(x1, x2)
    ]


def area(polygon: tuple[Point, ...]) -> float:
    """Area inside a polygon in square pixels (shoelace formula)."""
    closed = (*polygon, polygon[0])
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairwise(closed))) / 2


def outside(points: tuple[Point, ...], width: int, height: int) -> bool:
    """Whether any point lies off a page of `width` x `height` pixels."""
    return any(x < 0 or y < 0 or x >= width or y >= height for x, y in points)


def contains(polygon: tuple[Point, ...], point: tuple[float, float]) -> bool:
    """Whether a point lies inside a polygon (even-odd rule)."""
    x, y = point
    inside = False
    for (x1, y1), (x2, y2) in pairwise((*polygon, polygon[0])):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
    return inside


def near(polygon: tuple[Point, ...], point: Point, tolerance: float) -> bool:
    """Whether a point lies inside a polygon or within `tolerance` pixels of its outline."""
    return contains(polygon, point) or any(
        _distance(point, start, end) <= tolerance for start, end in pairwise((*polygon, polygon[0]))
    )


def _distance(point: Point, start: Point, end: Point) -> float:
    dx, dy = end[0] - start[0], end[1] - start[1]
    squared = dx * dx + dy * dy
    along = ((point[0] - start[0]) * dx + (point[1] - start[1]) * dy) / squared if squared else 0.0
    along = min(1.0, max(0.0, along))
    return hypot(point[0] - start[0] - along * dx, point[1] - start[1] - along * dy)
