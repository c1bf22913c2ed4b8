"""The inner loop of line extraction: mask, warp and grey in one pass, compiled by numba."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, inline="always")
def _mix(
    p00: int, p01: int, p10: int, p11: int, dx: float, dy: float
) -> Any:  # pragma: no cover - compiled
    left, right = np.float64(np.int32(p00 & 255)), np.float64(np.int32(p01 & 255))
    upper = left + (right - left) * dx
    left, right = np.float64(np.int32(p10 & 255)), np.float64(np.int32(p11 & 255))
    lower = left + (right - left) * dx
    return np.int32(upper + (lower - upper) * dy)


@njit(cache=True, nogil=True)
def warp_grey(
    patch: Any, mask: Any, height: int, width: int, spans: Any, coefficients: Any
) -> tuple[Any, Any, Any]:  # pragma: no cover - compiled
    """Warp a patch of a page into a straight line of text, in grey.

    Each colour is interpolated and truncated by itself and only then mixed to grey, in the order
    and with the rounding of Pillow's bilinear `transform` and of its conversion to `L`.

    Args:
        patch: uint32, rows x columns; red, green and blue from the lowest byte up.
        mask: uint8, rows x columns, 255 inside the line; the rest counts as black.
        height: Rows of the result.
        width: Columns of the result.
        spans: int64, n x 2: first and last (excluded) target column of each piece.
        coefficients: float64, n x 8: bilinear map from target to source of each piece.

    Returns:
        The line (uint8, height x width), and which of its rows and columns are not black in
        colour, by which Kraken crops it.
    """
    out = np.zeros((height, width), np.uint8)
    rows = np.zeros(height, np.uint8)
    columns = np.zeros(width, np.uint8)
    last_y, last_x = patch.shape[0] - 1, patch.shape[1] - 1
    end_y, end_x = np.float64(last_y + 1), np.float64(last_x + 1)
    page = patch & (mask * np.uint32(0x010101))
    for piece in range(spans.shape[0]):
        a0, a1, a2, a3, b0, b1, b2, b3 = coefficients[piece]
        first = spans[piece, 0]
        left, right = max(first, 0), min(spans[piece, 1], width)
        for y in range(height):
            v = y + 0.5
            for x in range(left, right):
                u = x - first + 0.5
                sx = a0 + a1 * u + a2 * v + a3 * u * v
                sy = b0 + b1 * u + b2 * v + b3 * u * v
                if sx < 0.0 or sx >= end_x or sy < 0.0 or sy >= end_y:
                    continue
                sx -= 0.5
                sy -= 0.5
                # floor, for values above -1
                ix, iy = np.int32(sx + 1.0) - 1, np.int32(sy + 1.0) - 1
                dx, dy = sx - ix, sy - iy
                # unsigned, so that no negative index has to be considered
                x0, x1 = np.uint64(max(ix, 0)), np.uint64(min(ix + 1, last_x))
                y0, y1 = np.uint64(max(iy, 0)), np.uint64(min(iy + 1, last_y))
                p00, p01, p10, p11 = page[y0, x0], page[y0, x1], page[y1, x0], page[y1, x1]
                if not p00 | p01 | p10 | p11:
                    continue
                red = _mix(p00, p01, p10, p11, dx, dy)
                green = _mix(p00 >> 8, p01 >> 8, p10 >> 8, p11 >> 8, dx, dy)
                blue = _mix(p00 >> 16, p01 >> 16, p10 >> 16, p11 >> 16, dx, dy)
                if red | green | blue:
                    rows[y] = 1
                    columns[x] = 1
                    out[y, x] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return out, rows, columns
