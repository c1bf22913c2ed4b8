"""Compiled kernels: draw a word once, break words into lines, put the words of a page in place.

Everything horizontal is counted in cells. A cell is one byte of the page: one pixel of 8 bits, or
two of 4 bits. Words start on whole cells, so the bytes of a word never change and are kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit  # pyright: ignore[reportMissingTypeStubs]

Array = np.ndarray[Any, Any]

ADVANCE, LEFT, RIGHT, TOP, BOTTOM = range(5)
"""Columns of the word table: cells to the next word, ink from and to (cells), rows from and to."""
END_OF_LINE, GAP, FIRST_KIND = -1, -2, -3
"""Items below zero: end of a line of text, a blank line, and a block of kind `FIRST_KIND - item`."""
LINE_HEIGHT, INDENT, HANGING, SPACE = range(4)
"""Columns of the table of block kinds: pixels, then cells: indent of the first line, of the others,
and the word space."""
NEXT_ITEM, KIND, STARTED = range(3)
"""Layout state carried from page to page: where we are, and in what."""
WORD, X, Y = range(3)
"""Columns of the table of placed words."""

_compile: Any = njit(cache=True, nogil=True, boundscheck=False)


@_compile
def draw_word(
    glyphs: Array, ink: Array, atlas: Array, canvas: Array, origin: int, baseline: int
) -> bool:
    """Draw glyphs (row of `ink`, x, y in 1/64 pixel) on `canvas`; False if ink fell outside it."""
    rows, columns = canvas.shape
    for g in range(glyphs.shape[0]):
        glyph = glyphs[g, 0]
        offset, width, height = ink[glyph, 0], ink[glyph, 1], ink[glyph, 2]
        x = origin + (glyphs[g, 1] + 32 >> 6) + ink[glyph, 3]
        y = baseline - (glyphs[g, 2] + 32 >> 6) + ink[glyph, 4]
        for r in range(height):
            for c in range(width):
                value = atlas[offset + r * width + c]
                if value == 0:
                    continue
                if not (0 <= y + r < rows and 0 <= x + c < columns):
                    return False
                total = canvas[y + r, x + c] + value
                canvas[y + r, x + c] = total if total < 255 else 255
    return True


@_compile
def keep_word(
    canvas: Array, columns: int, origin: int, bits: int, pool: Array, used: int, word: Array
) -> int:
    """Move the ink on `canvas` into `pool` as page bytes and clear the canvas.

    Args:
        canvas: (rows, columns) ink, 0 none to 255 black.
        columns: Columns in use.
        origin: Column where the word starts, a multiple of the pixels in a cell.
        bits: 8, or 4 to keep 16 greys and pack two pixels in a byte.
        pool: Bytes of all words, to append to.
        used: Bytes of `pool` in use.
        word: The line of the word table to fill.

    Returns:
        The bytes of `pool` in use afterwards, or -1 when it is too small; nothing is moved then.
    """
    top, bottom, left, right = canvas.shape[0], 0, columns, 0
    for r in range(canvas.shape[0]):
        for c in range(columns):
            if canvas[r, c]:
                top = min(top, r)
                bottom = r + 1
                left = min(left, c)
                right = max(right, c + 1)
    if bottom == 0:
        top, left, right = 0, origin, origin
    pixels = 8 // bits
    first = left // pixels
    last = (right + pixels - 1) // pixels
    if used + (bottom - top) * (last - first) > len(pool):
        return -1
    for r in range(top, bottom):
        for cell in range(first, last):
            if bits == 8:
                pool[used] = 255 - canvas[r, cell]
            else:
                high = (np.int32(canvas[r, 2 * cell]) * 15 + 127) // 255
                low = (np.int32(canvas[r, 2 * cell + 1]) * 15 + 127) // 255
                pool[used] = 255 - (high << 4 | low)
            used += 1
    word[TOP] = top
    word[BOTTOM] = bottom
    word[LEFT] = first - origin // pixels
    word[RIGHT] = last - origin // pixels
    canvas[:, :columns] = 0
    return used


@_compile
def lay_out_page(
    items: Array,
    state: Array,
    words: Array,
    kinds: Array,
    placed: Array,
    width: int,
    bottom: int,
    margin: int,
    top: int,
    gap: int,
) -> int:
    """Fill one page with lines, greedily, from item `state[NEXT_ITEM]` on.

    A line that would cross `bottom` is left for the next page. Two words on a line never touch,
    whatever their ink does beyond their advance.

    Args:
        items: Word numbers and the codes below zero.
        state: See `NEXT_ITEM`; updated.
        words: The word table.
        kinds: The table of block kinds.
        placed: Receives every word of the page with its place.
        width: Cells in a row.
        bottom: First row of the lower margin.
        margin: Cells left and right of the text.
        top: Rows above the text.
        gap: Rows of a blank line.

    Returns:
        The number of words placed.
    """
    k, kind, started = state[NEXT_ITEM], state[KIND], state[STARTED]
    y = top
    used = 0
    right = width - margin
    while k < len(items):
        item = items[k]
        if item < 0:
            if item == END_OF_LINE:
                kind, started = 0, 0
            elif item == GAP:
                y += gap if used else 0
            else:
                kind = FIRST_KIND - item
            k += 1
            continue
        height = kinds[kind, LINE_HEIGHT]
        if y + height > bottom and used:
            break
        x = margin + (kinds[kind, HANGING] if started else kinds[kind, INDENT])
        edge = margin
        first = used
        while k < len(items) and items[k] >= 0:
            w = items[k]
            at = max(x, edge - words[w, LEFT])
            if used > first and at + words[w, RIGHT] > right:
                break
            placed[used, WORD] = w
            placed[used, X] = at
            placed[used, Y] = y
            used += 1
            edge = at + words[w, RIGHT] + 1
            x = at + words[w, ADVANCE] + kinds[kind, SPACE]
            if not started:
                x = max(x, margin + kinds[kind, HANGING])
                started = 1
            k += 1
        y += height
    state[NEXT_ITEM], state[KIND], state[STARTED] = k, kind, started
    return used


@_compile
def draw_page(
    placed: Array, count: int, words: Array, where: Array, pool: Array, page: Array
) -> None:
    """Whiten `page` (rows of one filter byte and the cells) and copy the placed words onto it."""
    rows, stride = page.shape
    page[:] = 255
    for r in range(rows):
        page[r, 0] = 0
    for i in range(count):
        w = placed[i, WORD]
        start = 1 + placed[i, X] + words[w, LEFT]
        length = words[w, RIGHT] - words[w, LEFT]
        if start < 1 or start + length > stride:
            continue
        source = where[w]
        y = placed[i, Y]
        for r in range(y + words[w, TOP], y + words[w, BOTTOM]):
            for c in range(length):
                page[r, start + c] = pool[source + c]
            source += length
