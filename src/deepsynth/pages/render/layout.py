"""Compiled kernels: break words into lines, put the words of a page in place.

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
INK, INK_ROWS, INK_CELLS = range(3)
"""Columns of the table of darkness: the sum of 255 - byte over a word; the same, each times its row
in the word; the same, each times its cell."""
END_OF_LINE, GAP, FIRST_KIND = -1, -2, -3
"""Items below zero: end of a line, a blank line, and a block of kind `FIRST_KIND - item`."""
LINE_HEIGHT, INDENT, HANGING, SPACE = range(4)
"""Columns of the table of block kinds: pixels, then cells: indent of the first line, of the others,
and the word space."""
NEXT_ITEM, KIND, STARTED = range(3)
"""Layout state carried from page to page: where we are, and in what."""
WORD, X, Y = range(3)
"""Columns of the table of placed words."""
_ADLER = 65521

_compile: Any = njit(cache=True, nogil=True, boundscheck=False)


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
    placed: Array,
    count: int,
    words: Array,
    where: Array,
    darkness: Array,
    pool: Array,
    page: Array,
    blank: int,
) -> int:
    """Whiten `page` (rows of one filter byte and the cells) and copy the placed words onto it.

    Returns the Adler-32 checksum of the page, given that of a `blank` one. Both its halves are sums
    over the bytes, so each word adds what was worked out when it was drawn.
    """
    low, high = np.int64(blank & 0xFFFF), np.int64(blank >> 16)
    rows, stride = page.shape
    page[:] = 255
    for r in range(rows):
        page[r, 0] = 0
    # Unsigned numbers: with signed ones every access would first be tested for a negative index.
    flat = page.reshape(-1)
    for i in range(count):
        w = placed[i, WORD]
        start = 1 + placed[i, X] + words[w, LEFT]
        length = np.uintp(words[w, RIGHT] - words[w, LEFT])
        inside = start >= 1 and start + words[w, RIGHT] - words[w, LEFT] <= stride
        if not inside or placed[i, Y] + words[w, BOTTOM] > rows:
            continue  # never beyond the page, whatever the layout says: nothing else checks
        source = np.uintp(where[w])
        target = np.uintp((placed[i, Y] + words[w, TOP]) * stride + start)
        for _ in range(words[w, TOP], words[w, BOTTOM]):
            for c in range(length):
                flat[target + c] = pool[source + c]
            source += length
            target += np.uintp(stride)
        after = rows * stride - (placed[i, Y] + words[w, TOP]) * stride - start
        low -= darkness[w, INK]
        high -= after * darkness[w, INK]
        high += stride * darkness[w, INK_ROWS] + darkness[w, INK_CELLS]
    return int((high % _ADLER) << 16 | low % _ADLER)
