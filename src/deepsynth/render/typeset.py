"""The fast path: Latin, Greek and Cyrillic text, word by word from a cache of drawn words."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from deepsynth.render import layout
from deepsynth.render.blocks import BULLET, MAX_DEPTH, Block, blocks
from deepsynth.render.fonts import Font
from deepsynth.render.glyphs import Typeface
from deepsynth.render.png import encode_rows
from deepsynth.render.settings import PageSettings

_SIMPLE = (
    (0x21, 0x7E),  # Basic Latin
    (0xA0, 0xAC),  # Latin-1, but for the soft hyphen
    (0xAE, 0x52F),  # Latin, combining marks, Greek, Cyrillic
    (0x1E00, 0x1FFF),  # Latin and Greek with marks
    (0x2010, 0x2027),  # dashes, quotation marks
    (0x202F, 0x205E),  # narrow space, per mille to vertical dots
    (0x2070, 0x214F),  # superscripts, currency, letter-like
    (0x2150, 0x23FF),  # fractions, arrows, mathematics, technical
    (0x2460, 0x27BF),  # enclosed numbers, shapes, symbols
    (0x2C60, 0x2C7F),  # Latin extended
    (0xA720, 0xA7FF),  # Latin extended
    (0xFB00, 0xFB06),  # ligatures
    (0xFFFD, 0xFFFD),  # replacement character
)
_HEADING_SCALE = {1: 1.6, 2: 1.35, 3: 1.15}
_BREAKING_SPACE = re.compile(r"[^\S\xa0\u202f]+")
_WORDS_KEPT = 1 << 16
_PAD = 64
"""Columns left and right of a word on the drawing canvas, for ink beyond its advance."""

Array = np.ndarray[Any, Any]


class NeedsShaping(Exception):  # noqa: N818  (a signal between the two paths, never an error)
    """The text holds a character this path does not set; the whole document goes the other way."""


def _words(line: str) -> list[str]:
    if "\xa0" in line or "\u202f" in line:
        return [word for word in _BREAKING_SPACE.split(line) if word]
    return line.split()


def _grown(array: Array) -> Array:
    return np.concatenate([array, np.zeros_like(array)])


class Typesetter:
    """Sets documents in one text font; keeps every word it has drawn.

    What is kept never changes a page: the bytes of a word depend on the word, the font and the
    settings alone. The cache is emptied between documents when it is full, so memory stays bounded.
    """

    def __init__(self, settings: PageSettings, fonts: tuple[Font, ...]) -> None:
        self._bits = settings.bits
        self._cell = 8 // settings.bits
        side = settings.page_px
        self._max_pages = settings.max_pages
        self._margin = settings.margin
        text_font, heading_font = fonts[0].path, fonts[1].path
        self._faces = [Typeface(text_font, settings.size_px)]
        for scale in _HEADING_SCALE.values():
            self._faces.append(Typeface(heading_font, settings.size_px * scale))
        # Styles share the tables below; style 0 is text, 1 to 3 are the headings.
        self._heights = [settings.line_height] + [
            -(-face.ascent - face.descent) * 9 // 8 for face in self._faces[1:]
        ]
        self._baselines = [
            face.ascent + max(0, height - face.ascent - face.descent + 1) // 2
            for face, height in zip(self._faces, self._heights, strict=True)
        ]
        self._simple = [
            frozenset(
                chr(code)
                for first, last in _SIMPLE
                for code in range(first, last + 1)
                if code in face.covered
            )
            for face in self._faces
        ]
        self._cells = side // self._cell
        self._text_px = side - 2 * settings.margin
        step = settings.size_px * 3 // 2 // self._cell
        depths = range(MAX_DEPTH + 1)
        spaces = [max(1, round(face.shape(" ")[1] / 64 / self._cell)) for face in self._faces]
        self._kinds = np.array(
            [(h, 0, 0, space) for h, space in zip(self._heights, spaces, strict=True)]
            + [(self._heights[0], d * step, (d + 1) * step, spaces[0]) for d in depths],
            np.int32,
        )
        self._widest = self._text_px - (MAX_DEPTH + 2) * step * self._cell
        self._gap = settings.line_height // 2
        rows = max(self._heights)
        self._canvas = np.zeros((rows, self._text_px + 2 * _PAD), np.uint8)
        self._page = np.empty((side, self._cells + 1), np.uint8)
        self._placed = np.zeros((side * side // 8, 3), np.int32)
        self._words = np.zeros((_WORDS_KEPT, 5), np.int32)
        self._where = np.zeros(_WORDS_KEPT, np.int64)
        self._pool = np.zeros(1 << 24, np.uint8)
        self._forget()

    def _forget(self) -> None:
        self._numbers: list[dict[str, int]] = [{} for _ in self._faces]
        self._count = 0
        self._used = 0

    def pages(self, text: str) -> tuple[list[bytes], bool]:
        """The pages of `text` as PNG files, and whether it was cut at the page limit.

        Raises:
            NeedsShaping: The text is not for this path.
        """
        if self._count > _WORDS_KEPT * 3 // 4:
            self._forget()
        items = np.array(self._items(text), np.int32)
        state = np.zeros(3, np.int64)
        found: list[bytes] = []
        side = len(self._page)
        while True:
            placed = layout.lay_out_page(
                items,
                state,
                self._words,
                self._kinds,
                self._placed,
                self._cells,
                side - self._margin,
                self._margin // self._cell,
                self._margin,
                self._gap,
            )
            if placed == 0:
                return found, False
            if len(found) == self._max_pages:
                return found, True
            layout.draw_page(
                self._placed, placed, self._words, self._where, self._pool, self._page
            )
            found.append(encode_rows(self._page, self._bits))

    def _items(self, text: str) -> list[int]:
        items: list[int] = []
        known = self._numbers[0].get
        for block in blocks(text):
            if block is None:
                items.append(layout.GAP)
                continue
            if block.heading or block.marker:
                self._add_structured(block, items)
                continue
            words = _words(block.text)
            numbers = list(map(known, words))
            if None in numbers:
                for word in words:
                    number = known(word)
                    if number is None:
                        items.extend(self._draw(word, 0))
                    else:
                        items.append(number)
            else:
                items += numbers  # pyright: ignore[reportArgumentType]
            items.append(layout.END_OF_LINE)
        return items

    def _add_structured(self, block: Block, items: list[int]) -> None:
        style = block.heading
        kind = style or len(self._faces) + block.depth
        items.append(layout.FIRST_KIND - kind)
        words = _words(block.text)
        if block.marker:
            marker = block.marker
            if marker == BULLET and BULLET not in self._simple[0]:
                marker = "-"
            words.insert(0, marker)
        known = self._numbers[style].get
        for word in words:
            number = known(word)
            items.extend(self._draw(word, style) if number is None else (number,))
        items.append(layout.END_OF_LINE)

    def _draw(self, word: str, style: int) -> list[int]:
        """Draw a word not seen yet; a word wider than a line becomes several."""
        if not self._simple[style].issuperset(word):
            raise NeedsShaping(word)
        face = self._faces[style]
        glyphs, advance = face.shape(word)
        if advance <= self._widest * 64:
            return [self._keep(word, style, [(g, x, y) for g, _, x, y, _ in glyphs], advance)]
        numbers: list[int] = []
        start = 0
        part: list[tuple[int, int, int]] = []
        for glyph, _, x, y, width in glyphs:
            if part and width and x + width - start > self._widest * 64:
                numbers.append(self._keep(None, style, part, x - start))
                part, start = [], x
            part.append((glyph, x - start, y))
        numbers.append(self._keep(None, style, part, advance - start))
        return numbers

    def _keep(
        self, word: str | None, style: int, glyphs: list[tuple[int, int, int]], advance: int
    ) -> int:
        face = self._faces[style]
        if self._count == len(self._words):
            self._words, self._where = _grown(self._words), _grown(self._where)
        table = np.array([(face.drawn(g), x, y) for g, x, y in glyphs], np.int32)
        canvas = self._canvas[: self._heights[style]]
        if not layout.draw_word(
            table.reshape(-1, 3), face.ink, face.atlas, canvas, _PAD, self._baselines[style]
        ):
            canvas[:] = 0
            raise NeedsShaping(word or "")
        number = self._count
        columns = min(self._canvas.shape[1], (advance >> 6) + 2 * _PAD)
        while True:
            used = layout.keep_word(
                canvas, columns, _PAD, self._bits, self._pool, self._used, self._words[number]
            )
            if used >= 0:
                break
            self._pool = _grown(self._pool)
        self._words[number, layout.ADVANCE] = ((advance + 32 >> 6) + self._cell - 1) // self._cell
        self._where[number] = self._used
        self._used = used
        self._count += 1
        if word is not None:
            self._numbers[style][word] = number
        return number
