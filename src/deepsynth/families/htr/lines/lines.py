"""Line images: what Kraken 7 cuts from a page for a line, computed with less work.

`extract_line` gives, pixel for pixel, what `kraken.lib.segmentation.extract_polygons` gives after
the network's own conversion to grey; a test compares the two. The geometry follows Kraken
(Apache-2.0, B. Kiessling) and scikit-image (BSD-3-Clause) step by step, because equality needs
their rounding. What is saved: the mask, the warp and the conversion to grey are one compiled
loop over the pixels of the line, and runs of a polygon without points between are skipped.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepsynth.errors import MissingDependency, install_extra
from deepsynth.families.htr.ground_truth import geometry
from deepsynth.families.htr.ground_truth.model import Line

if TYPE_CHECKING:
    from PIL.Image import Image

Points = NDArray[np.float64]
Quad = tuple[tuple[int, int, int, int], tuple[float, ...]]
"""A target box (left, top, right, bottom) and the source corners NW, SW, SE, NE."""


class LostLine(ValueError):
    """A line that cannot be cut out; its text says why."""


class PageImage:
    """A page ready for line extraction.

    Args:
        image: The page, of mode `1`, `L` or `RGB`.
        colour: Keep colour, for networks of three channels. Those read grey otherwise.
    """

    def __init__(self, image: Image, *, colour: bool = False) -> None:
        self.width, self.height = image.size
        colours = image.getcolors(2)
        self.bitonal = colours is not None and len(colours) == 2
        if self.bitonal:
            image = image.convert("1").convert("L")
        self.image = image
        self.grey_wanted = not colour


def extract_line(page: PageImage, line: Line) -> Image:
    """The dewarped image of one line.

    Raises:
        LostLine: No usable baseline or polygon, or one of them beyond the page.
    """
    _require_usable(page, line)
    baseline = np.array(line.baseline)
    polygon = np.array(line.polygon)
    left, top = (int(value) for value in polygon.min(axis=0))
    right, bottom = (int(value) for value in polygon.max(axis=0))
    box = (left, top, right + 1, bottom + 1)
    if len(baseline) == 2:
        shape, matrix = _rotation(baseline.astype(float), bottom + 1 - top, right + 1 - left)
        return _cut(page, box, polygon - (left, top), shape, matrix=matrix)
    outline = smooth_outline(polygon)
    shape, quads = _unroll(baseline, outline, (left, top))
    return _cut(page, box, outline - (left, top), shape, quads=quads)


def _require_usable(page: PageImage, line: Line) -> None:
    if len(line.baseline) < 2 or geometry.length(line.baseline) < geometry.MIN_BASELINE_PX:
        raise LostLine("its baseline is missing or shorter than 5 px")
    if len(line.polygon) < 3:
        raise LostLine("its polygon is missing or has under three points")
    for what, points in (("polygon", line.polygon), ("baseline", line.baseline)):
        if geometry.outside(points, page.width, page.height):
            raise LostLine(f"its {what} reaches beyond the page")


def smooth_outline(polygon: NDArray[Any]) -> Points:
    """Simplify long outlines to 2 px and round their corners (a quadratic B-spline)."""
    if len(polygon) > 50:
        polygon = _simplify(polygon, 2.0)
    closed = bool((polygon[0] == polygon[-1]).all())
    points = polygon.astype(float)
    if closed:
        points = points[:-1]
        before, after = np.roll(points, 1, axis=0), points
    else:
        before, after = points[:-1], points[1:]
    rounded = np.empty((2 * len(before), 2))
    rounded[::2] = 0.75 * before + 0.25 * after
    rounded[1::2] = 0.25 * before + 0.75 * after
    if closed:
        return np.vstack([rounded, rounded[0]])
    return np.vstack([points[0], rounded, points[-1]])


def _simplify(points: NDArray[Any], tolerance: float) -> NDArray[Any]:
    """Douglas-Peucker, with the arithmetic of `skimage.measure.approximate_polygon`."""
    keep = np.zeros(len(points), dtype=bool)
    keep[[0, -1]] = True
    spans = [(0, len(points) - 1)]
    while spans:
        start, end = spans.pop()
        if end - start < 2:
            continue
        (r0, c0), (r1, c1) = points[start], points[end]
        dr, dc = r1 - r0, c1 - c0
        angle = -np.arctan2(dr, dc)
        offset = c0 * np.sin(angle) + r0 * np.cos(angle)
        rows, columns = points[start + 1 : end, 0], points[start + 1 : end, 1]
        dr0, dc0, dr1, dc1 = rows - r0, columns - c0, rows - r1, columns - c1
        beside = (dr0 * dr + dc0 * dc > 0) & (-dr1 * dr - dc1 * dc > 0)
        distances = np.where(
            beside,
            np.abs(rows * np.cos(angle) + columns * np.sin(angle) - offset),
            np.minimum(np.sqrt(dc0**2 + dr0**2), np.sqrt(dc1**2 + dr1**2)),
        )
        farthest = int(np.argmax(distances))
        if distances[farthest] > tolerance:
            middle = start + farthest + 1
            keep[middle] = True
            spans += [(middle, end), (start, middle)]
    return points[keep]


def _rotation(
    baseline: Points, rows: int, columns: int
) -> tuple[tuple[int, int], tuple[float, ...]]:
    """Target shape and affine matrix that lay a straight baseline flat."""
    steps = np.diff(baseline.T)
    lengths = np.linalg.norm(steps, axis=0)
    direction = np.mean(steps * lengths / lengths.sum(), axis=1)
    direction = direction / np.sqrt(np.sum(direction**2))
    angle = float(np.arctan2(direction[1], direction[0]))
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    corners = np.array([[0, 0], [0, rows - 1], [columns - 1, rows - 1], [columns - 1, 0]])
    turned = _apply(np.linalg.inv(turn), corners)
    low, high = turned.min(axis=0), turned.max(axis=0)
    width, height = (int(value) for value in np.around(high - low + 1))
    shift = _apply(turn, low[None])[0]
    return (height, width), (cosine, -sine, float(shift[0]), sine, cosine, float(shift[1]))


def _apply(matrix: Points, points: NDArray[Any]) -> Points:
    homogeneous = np.hstack([points, np.ones((len(points), 1))]) @ matrix.T
    return homogeneous[:, :2] / homogeneous[:, 2:]


def _unroll(
    baseline: NDArray[Any], outline: Points, origin: tuple[int, int]
) -> tuple[tuple[int, int], list[Quad]]:
    """Target shape and mesh that straighten a bent baseline."""
    steps = np.diff(baseline, axis=0)
    norms = np.linalg.norm(steps, axis=1)
    units = steps / norms[:, None]
    reached = np.cumsum([0, *norms.tolist()])
    offsets = outline[None, :] - baseline[:-1, None]
    along = np.einsum("kpm,km->kp", offsets, units)
    beyond = np.maximum(-along, along - norms[:, None])
    nearest = np.argmin(beyond, axis=0)
    every = np.arange(len(outline))
    offset, unit = offsets[nearest, every], units[nearest]
    across = unit[:, 0] * offset[:, 1] - unit[:, 1] * offset[:, 0]
    target = np.array([reached[nearest] + along[nearest, every], across]).T + baseline[:1]
    left, right = int(target[:, 0].min()), int(target[:, 0].max())
    top, bottom = int(target[:, 1].min()), int(target[:, 1].max())
    shape = (bottom - top + 1, right - left + 1)
    start = (float(baseline[0][0] - left), float(baseline[0][1] - top))
    return shape, _mesh(baseline - origin, units, reached, start, shape)


def _mesh(
    baseline: NDArray[Any],
    units: Points,
    reached: Points,
    start: tuple[float, float],
    shape: tuple[int, int],
) -> list[Quad]:
    """Quads between the baseline's normals; each corner is bevelled along a Bezier curve."""
    above, below = -start[1], shape[0] - start[1]
    normals = np.array([-units[:, 1], units[:, 0]]).T
    bevel_width = shape[0] / 3

    def pair(point: Points, normal: Points) -> list[tuple[int, int]]:
        ends = (point + above * normal, point + below * normal)
        return [(int(x), int(y)) for x, y in ends]

    source: list[tuple[float, float]] = []
    source += pair(baseline[0] - units[0] * start[0], normals[0])
    columns = [0]
    for k in range(len(baseline) - 2):
        point = baseline[k + 1]
        back, ahead = baseline[k] - point, baseline[k + 2] - point
        back = back / max(2.0, np.linalg.norm(back) / bevel_width)
        ahead = ahead / max(2.0, np.linalg.norm(ahead) / bevel_width)
        back_length, ahead_length = np.linalg.norm(back), np.linalg.norm(ahead)
        count = max(1, np.round((back_length + ahead_length) / (bevel_width / 2)))
        for i in range(int(count) + 1):
            t = i / count
            bent = point + (1 - t) ** 2 * back + t**2 * ahead
            column = start[0] + reached[k + 1] - (1 - t) ** 2 * back_length + t**2 * ahead_length
            normal = (1 - t) * normals[k] + t * normals[k + 1]
            normal /= np.linalg.norm(normal)
            ends = pair(bent, normal)
            # equal corners would make a singular quad
            if ends[0] == source[-2] or ends[1] == source[-1] or int(column) == columns[-1]:
                continue
            source += ends
            columns.append(int(column))
    last = baseline[-1] + units[-1] * (shape[1] - reached[-1] - start[0])
    source += [tuple(last + above * normals[-1]), tuple(last + below * normals[-1])]
    columns.append(shape[1])
    return [
        (
            (columns[i], 0, columns[i + 1], shape[0]),
            (*source[2 * i], *source[2 * i + 1], *source[2 * i + 3], *source[2 * i + 2]),
        )
        for i in range(len(columns) - 1)
    ]


def _cut(
    page: PageImage,
    box: tuple[int, int, int, int],
    outline: Points,
    shape: tuple[int, int],
    *,
    matrix: tuple[float, ...] | None = None,
    quads: list[Quad] | None = None,
) -> Image:
    from PIL import Image, ImageDraw
    from PIL.Image import Resampling, Transform

    size = (box[2] - box[0], box[3] - box[1])
    mask = Image.new("L", size, 0)
    corners = [(int(x), int(y)) for x, y in outline]
    ImageDraw.Draw(mask).polygon(corners, fill=255, width=2)
    patch = page.image.crop(box)
    if patch.mode == "RGB" and page.grey_wanted:
        pieces = _pieces(shape, matrix, quads)
        pixels = np.frombuffer(patch.tobytes("raw", "RGBX"), "<u4").reshape(size[1], size[0])
        grey, rows, columns = _kernel()(pixels, np.asarray(mask), *shape, *pieces)
        ys, xs = np.flatnonzero(rows), np.flatnonzero(columns)
        if not len(ys):
            raise LostLine("its polygon holds nothing but black")
        return Image.fromarray(grey[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1])
    masked = Image.new(patch.mode, size, 0)
    masked.paste(patch, mask=mask)
    resample = Resampling.NEAREST if page.bitonal else Resampling.BILINEAR
    target = (shape[1], shape[0])
    if matrix is not None:
        cut = masked.transform(target, Transform.AFFINE, matrix, resample=resample, fillcolor=0)
    else:
        cut = masked.transform(target, Transform.MESH, quads, resample=resample)
    extent = cut.getbbox()
    if extent is None:
        raise LostLine("its polygon holds nothing but black")
    return cut.crop(extent)


def _pieces(
    shape: tuple[int, int], matrix: tuple[float, ...] | None, quads: list[Quad] | None
) -> tuple[NDArray[np.int64], Points]:
    """Target columns and the eight coefficients of each piece, as Pillow computes them."""
    if matrix is not None:
        a, b, c, d, e, f = matrix
        return np.array([[0, shape[1]]]), np.array([[c, a, b, 0.0, f, d, e, 0.0]])
    spans: list[tuple[int, int]] = []
    rows: list[tuple[float, ...]] = []
    for (left, top, right, bottom), (nwx, nwy, swx, swy, sex, sey, nex, ney) in quads or []:
        across, down = 1.0 / (right - left), 1.0 / (bottom - top)
        spans.append((left, right))
        rows.append(
            (
                nwx,
                (nex - nwx) * across,
                (swx - nwx) * down,
                (sex - swx - nex + nwx) * across * down,
                nwy,
                (ney - nwy) * across,
                (swy - nwy) * down,
                (sey - swy - ney + nwy) * across * down,
            )
        )
    return np.array(spans), np.array(rows)


@cache
def _kernel() -> Any:
    try:
        from deepsynth.families.htr.lines.warp import warp_grey
    except ImportError as error:
        raise MissingDependency(
            f"compiling lines needs {error.name}",
            hint=install_extra("htr"),
        ) from None
    return warp_grey
