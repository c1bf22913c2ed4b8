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
"""Items below zero: end of a line, a blank line, and a block of kind `FIRST_KIND - item`."""
LINE_HEIGHT, INDENT, HANGING, SPACE = range(4)
"""Columns of the table of block kinds: pixels, then cells: indent of the first line, of the others,
and the word space."""
NEXT_ITEM, KIND, STARTED = range(3)
"""Layout state carried from page to page: where we are, and in what."""
WORD, X, Y = range(3)
"""Columns of the table of placed words."""

UNKNOWN, JOINED = -(1 << 30), -(1 << 30) + 1
"""Advances of a pair of letters not met yet, and of one that is more than the two letters."""

# All kernels are in this file: the compiler's cache does not notice a change in another one.
_compile: Any = njit(cache=True, nogil=True, boundscheck=False)


@_compile
def draw_word(
    glyphs: Array, ink: Array, atlas: Array, canvas: Array, origin: int, baseline: int, box: Array
) -> bool:
    """Draw glyphs (row of `ink`, x, y in 1/64 pixel) on `canvas`; False if ink fell outside it.

    `box` receives the first and last column and row with ink, the last exclusive.
    """
    rows, columns = canvas.shape
    box[0], box[1], box[2], box[3] = columns, 0, rows, 0
    for g in range(glyphs.shape[0]):
        glyph = glyphs[g, 0]
        offset, width, height = ink[glyph, 0], ink[glyph, 1], ink[glyph, 2]
        if width == 0:
            continue
        x = origin + (glyphs[g, 1] + 32 >> 6) + ink[glyph, 3]
        y = baseline - (glyphs[g, 2] + 32 >> 6) + ink[glyph, 4]
        if x < 0 or x + width > columns or y < 0 or y + height > rows:
            return False
        box[0], box[1] = min(box[0], x), max(box[1], x + width)
        box[2], box[3] = min(box[2], y), max(box[3], y + height)
        for r in range(height):
            source = np.uintp(offset + r * width)
            target = canvas[y + r, x : x + width]
            for c in range(np.uintp(width)):
                total = np.int32(target[c]) + np.int32(atlas[source + c])
                target[c] = min(total, 255)
    return True


@_compile
def keep_word(
    canvas: Array, box: Array, origin: int, bits: int, pool: Array, used: int, word: Array
) -> int:
    """Move the ink in `box` of `canvas` into `pool` as page bytes and clear it.

    Args:
        canvas: (rows, columns) ink, 0 none to 255 black.
        box: Where the ink is.
        origin: Column where the word starts, a multiple of the pixels in a cell.
        bits: 8, or 4 to keep 16 greys and pack two pixels in a byte.
        pool: Bytes of all words, to append to.
        used: Bytes of `pool` in use.
        word: The line of the word table to fill.

    Returns:
        The bytes of `pool` in use afterwards, or -1 when it is too small; nothing is moved then.
    """
    left, right, top, bottom = box[0], box[1], box[2], box[3]
    if bottom == 0:
        top, left, right = 0, origin, origin
    pixels = 8 // bits
    first = left // pixels
    last = (right + pixels - 1) // pixels
    length = last - first
    if used + (bottom - top) * length > len(pool):
        return -1
    for r in range(top, bottom):
        ink = canvas[r, first * pixels : last * pixels]
        kept = pool[used : used + length]
        if bits == 8:
            for c in range(np.uintp(length)):
                kept[c] = 255 - ink[c]
        else:
            for c in range(np.uintp(length)):
                high = (np.int32(ink[np.uintp(2) * c]) * 15 + 127) // 255
                low = (np.int32(ink[np.uintp(2) * c + np.uintp(1)]) * 15 + 127) // 255
                kept[c] = 255 - (high << 4 | low)
        ink[:] = 0
        used += length
    word[TOP] = top
    word[BOTTOM] = bottom
    word[LEFT] = first - origin // pixels
    word[RIGHT] = last - origin // pixels
    return used


@_compile
def draw_words(
    codes: Array,
    ends: Array,
    letter: Array,
    glyph: Array,
    advance: Array,
    ink: Array,
    atlas: Array,
    canvas: Array,
    origin: int,
    baseline: int,
    widest: int,
    bits: int,
    pool: Array,
    used: int,
    words: Array,
    where: Array,
    count: int,
    numbers: Array,
) -> tuple[int, int]:
    """Draw and keep words; `numbers` gets each one's number, or -1 when it is not for here.

    Args:
        codes: Code points of all words, one after the other.
        ends: Where each word ends in `codes`.
        letter: Number of a code point, 0 when not known.
        glyph: Row of `ink` of each letter.
        advance: (letters, letters) advance in 1/64 pixel before each next letter; 0 ends a word.
        ink: Of the typeface, as is `atlas`.
        atlas: See `Typeface`.
        canvas: (rows, columns) clear.
        origin: Column where words start.
        baseline: Row of the baseline.
        widest: A wider word (1/64 pixel) is not for here.
        bits: Per pixel of the page.
        pool: Bytes of all words.
        used: Of them in use.
        words: Word table.
        where: Start of each word in the pool.
        count: Words in the table.
        numbers: To fill.

    Returns:
        The new `used` and `count`; `used` is -1 - old when the pool was too small for a word,
        which is then the first with number -2.
    """
    start = 0
    box = np.empty(4, np.int64)
    places = np.empty((len(codes) + 1, 3), np.int32)
    for n in range(len(ends)):
        end = ends[n]
        x = 0
        fits = end > start
        for i in range(start, end):
            a = letter[codes[i]] if codes[i] < 65536 else 0
            b = 0
            if i + 1 < end:
                b = letter[codes[i + 1]] if codes[i + 1] < 65536 else 0
                fits = fits and b > 0
            step = advance[a, b]
            if a == 0 or step <= JOINED or not fits:
                fits = False
                break
            places[i - start, 0] = glyph[a]
            places[i - start, 1] = x
            places[i - start, 2] = 0
            x += step
        numbers[n] = -1
        if fits and x <= widest:
            drawn = draw_word(places[: end - start], ink, atlas, canvas, origin, baseline, box)
            if not drawn:
                canvas[:] = 0
            else:
                kept = keep_word(canvas, box, origin, bits, pool, used, words[count])
                if kept < 0:
                    canvas[:] = 0
                    numbers[n] = -2
                    return -1 - used, count
                cells = 8 // bits
                words[count, ADVANCE] = ((x + 32 >> 6) + cells - 1) // cells
                where[count] = used
                used = kept
                numbers[n] = count
                count += 1
        start = end
    return used, count


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
