"""Small plane geometry of baselines and polygons, in pixels."""

from __future__ import annotations

from itertools import pairwise
from math import hypot

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
