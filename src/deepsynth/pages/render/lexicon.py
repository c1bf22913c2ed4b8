"""Compiled kernels: from the characters of a text to the numbers of its words, drawn when new.

A word is looked up by its characters in a table of hashes. A new one is put together from pairs of
letters (see `pairs`), drawn, and kept. What the kernels leave to Python is told, not guessed: words
with letters that join, lines that may be Markdown.

All kernels that call each other are in this file: the compiler's cache does not notice a change in
another one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit  # pyright: ignore[reportMissingTypeStubs]

from deepsynth.pages.render.layout import (
    ADVANCE,
    BOTTOM,
    END_OF_LINE,
    GAP,
    INK,
    INK_CELLS,
    INK_ROWS,
    LEFT,
    RIGHT,
    TOP,
)

Array = np.ndarray[Any, Any]

OTHER, LETTER, SPACE, LINE_BREAK = range(4)
"""What a character is: not for this path, part of a word, between words, between lines."""
LETTERS = 1024
"""Numbers of letters and ligatures there are."""
UNKNOWN, JOINED = -(1 << 30), -(1 << 30) + 1
"""Advances of a pair of letters not met yet, and of one that is more than the two letters. The sum
of `JOINED` and a number stands for a pair that is one glyph, the ligature of that number."""
COUNT, USED, KEYS = range(3)
"""Of the state: words, bytes of the pool and characters of the keys in use."""
PLACE, START, END, IS_LINE = range(4)
"""Columns of the table of what is left to Python: index of the item, its characters, which kind."""
_LONGEST = 256
_MARKDOWN = np.zeros(128, np.bool_)
_MARKDOWN[[ord(char) for char in "#-*+0123456789"]] = True

_compile: Any = njit(cache=True, nogil=True, boundscheck=False)


class Tables(NamedTuple):
    """What the kernels read and fill.

    Attributes:
        kind: (65536,) what each character is.
        letter: (65536,) number of each letter met, 0 when not.
        glyph: Row of `ink` of each letter and ligature.
        advance: (`LETTERS`, `LETTERS`) advance in 1/64 pixel before each next one; 0 ends a word.
        ink: Ink boxes of the glyphs, see `Typeface`.
        atlas: Their coverage.
        canvas: (rows, columns) to draw on; clear between words.
        words: Measures of every word, see `layout.ADVANCE`.
        where: Start of each word in the pool.
        darkness: Of every word, for the checksum of a page, see `layout.INK`.
        pool: The bytes of all words.
        slots: Hash table: 0, or 1 + the number of a word. Its length is a power of two.
        keys: Characters of all words that can be looked up.
        spans: (words, 2) where the characters of each are in `keys`.
        state: See `COUNT`.
    """

    kind: Array
    letter: Array
    glyph: Array
    advance: Array
    ink: Array
    atlas: Array
    canvas: Array
    words: Array
    where: Array
    darkness: Array
    pool: Array
    slots: Array
    keys: Array
    spans: Array
    state: Array


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
    canvas: Array,
    box: Array,
    origin: int,
    bits: int,
    pool: Array,
    used: int,
    word: Array,
    darkness: Array,
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
        darkness: The line of the table of darkness to fill.

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
    sum_ink = sum_rows = sum_cells = np.int64(0)
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
        dark = np.int64(0)
        for c in range(np.uintp(length)):
            dark += np.int64(255 - kept[c])
            sum_cells += np.int64(c) * np.int64(255 - kept[c])
        sum_ink += dark
        sum_rows += (r - top) * dark
        used += length
    darkness[INK], darkness[INK_ROWS], darkness[INK_CELLS] = sum_ink, sum_rows, sum_cells
    word[TOP] = top
    word[BOTTOM] = bottom
    word[LEFT] = first - origin // pixels
    word[RIGHT] = last - origin // pixels
    return used


@_compile
def _slot(t: Tables, codes: Array, start: int, end: int) -> Any:
    """The slot of a word: the one it is in, or the empty one where it belongs."""
    # Unsigned numbers throughout: signed ones would be tested for a negative index every time.
    slots, spans, keys = t.slots, t.spans, t.keys
    origin, length = np.uint64(start), np.uint64(end - start)
    value = np.uint64(14695981039346656037)
    for i in range(length):
        value = (value ^ np.uint64(codes[origin + i])) * np.uint64(1099511628211)
    mask = np.uint64(len(slots) - 1)
    slot = (value ^ value >> np.uint64(32)) & mask
    while slots[slot]:
        number = np.uint64(slots[slot] - 1)
        first = np.uint64(spans[number, np.uint64(0)])
        if np.uint64(spans[number, np.uint64(1)]) - first == length:
            i = np.uint64(0)
            while i < length and keys[first + i] == codes[origin + i]:
                i += np.uint64(1)
            if i == length:
                break
        slot = (slot + np.uint64(1)) & mask
    return np.int64(slot)


@_compile
def remember(t: Tables, codes: Array, start: int, end: int, number: int) -> None:
    """Make a drawn word known by its characters; does nothing when there is no room."""
    used = t.state[KEYS]
    if used + end - start > len(t.keys) or number >= len(t.slots) // 2:
        return
    slot = _slot(t, codes, start, end)
    if t.slots[slot]:
        return
    for i in range(end - start):
        t.keys[used + i] = codes[start + i]
    t.spans[number, 0] = used
    t.spans[number, 1] = used + end - start
    t.state[KEYS] = used + end - start
    t.slots[slot] = number + 1


@_compile
def _letter_at(letter: Array, advance: Array, codes: Array, at: int, end: int) -> tuple[Any, int]:
    """The number of the letter or longest ligature at `at` (0: not met yet), and where it ends."""
    # Not the whole of the tables: handing over all of them costs more than what is done here.
    number = letter[codes[at]]
    at += 1
    while number and at < end:
        step = advance[number, letter[codes[at]]]
        if step <= JOINED or step > JOINED + LETTERS:
            break
        number = step - JOINED
        at += 1
    return number, at


@_compile
def _draw_new(
    t: Tables,
    codes: Array,
    start: int,
    end: int,
    origin: int,
    baseline: int,
    widest: int,
    bits: int,
    places: Array,
    box: Array,
) -> int:
    """Draw a new word from its letters; returns its number, or -1 when it is not for here."""
    number = t.state[COUNT]
    if end - start > _LONGEST or number >= len(t.spans):
        return -1
    letter, advance, glyph = t.letter, t.advance, t.glyph
    x = glyphs = 0
    after, at = _letter_at(letter, advance, codes, start, end)
    while after:
        first = after
        after, at = _letter_at(letter, advance, codes, at, end) if at < end else (0, end + 1)
        step = advance[first, after]
        if step <= JOINED + LETTERS:
            return -1
        places[glyphs, 0] = glyph[first]
        places[glyphs, 1] = x
        places[glyphs, 2] = 0
        glyphs += 1
        x += step
    if at <= end or x > widest:
        return -1  # a letter not met yet, or a word for more than one line
    if not draw_word(places[:glyphs], t.ink, t.atlas, t.canvas, origin, baseline, box):
        t.canvas[:] = 0
        return -1
    word, darkness = t.words[number], t.darkness[number]
    kept = keep_word(t.canvas, box, origin, bits, t.pool, t.state[USED], word, darkness)
    if kept < 0:
        t.canvas[:] = 0
        return -1
    cells = 8 // bits
    t.words[number, ADVANCE] = ((x + 32 >> 6) + cells - 1) // cells
    t.where[number] = t.state[USED]
    t.state[USED] = kept
    t.state[COUNT] = number + 1
    remember(t, codes, start, end, number)
    return number


@_compile
def read_text(
    t: Tables,
    codes: Array,
    structured: bool,
    items: Array,
    left: Array,
    origin: int,
    baseline: int,
    widest: int,
    bits: int,
) -> tuple[int, int, Any]:
    """The items of a text, for `layout.lay_out_page`.

    Args:
        t: The tables; new words are added to them.
        codes: Code points of the text.
        structured: Whether lines that may be Markdown are left to Python.
        items: Receives the items; what is left to Python has a placeholder.
        left: Receives what is left to Python, see `PLACE`.
        origin: Column of the canvas where words start.
        baseline: Row of the baseline.
        widest: A wider word (1/64 pixel) is left to Python.
        bits: Per pixel of the page.

    Returns:
        Number of items, number of things left to Python, and the place of the first character
        that is not for this path, or -1.
    """
    places = np.empty((_LONGEST, 3), np.int32)
    box = np.empty(4, np.int64)
    count = waiting = 0
    blank = False
    kinds = t.kind
    n = len(codes)
    limit = np.uint64(n)
    i = 0
    while i < n:
        # One line of text; an empty one is a gap before the next that is not.
        begun = aside = False
        while i < n:
            code = codes[i]
            kind = kinds[code] if code < 65536 else OTHER
            if kind == LINE_BREAK:
                break
            if kind == SPACE:
                i += 1
                continue
            if kind == OTHER:
                return count, waiting, i
            if not begun:
                begun = True
                if blank:
                    items[count] = GAP
                    count += 1
                    blank = False
                if structured and code < 128 and _MARKDOWN[code]:
                    start = i
                    while start > 0 and t.kind[codes[start - 1]] != LINE_BREAK:
                        start -= 1
                    while i < n and (codes[i] >= 65536 or t.kind[codes[i]] != LINE_BREAK):
                        i += 1
                    left[waiting, PLACE], left[waiting, START] = count, start
                    left[waiting, END], left[waiting, IS_LINE] = i, 1
                    waiting += 1
                    items[count] = END_OF_LINE
                    count += 1
                    aside = True
                    break
            start = i
            at = np.uint64(i)
            while at < limit and codes[at] < 65536 and kinds[codes[at]] == LETTER:
                at += np.uint64(1)
            i = np.int64(at)
            number = t.slots[_slot(t, codes, start, i)] - 1
            if number < 0:
                number = _draw_new(t, codes, start, i, origin, baseline, widest, bits, places, box)
                if number < 0:
                    left[waiting, PLACE], left[waiting, START] = count, start
                    left[waiting, END], left[waiting, IS_LINE] = i, 0
                    waiting += 1
            items[count] = number
            count += 1
        if not begun:
            blank = True
        elif not aside:
            items[count] = END_OF_LINE
            count += 1
        if i < n:
            # A carriage return and a line feed are one line break.
            i += 2 if codes[i] == 13 and i + 1 < n and codes[i + 1] == 10 else 1
    return count, waiting, -1
