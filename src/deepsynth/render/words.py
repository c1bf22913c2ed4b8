"""The cache of drawn words: each distinct word is shaped and drawn once, then only copied."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from deepsynth.render import layout
from deepsynth.render.fonts import Font
from deepsynth.render.glyphs import Typeface
from deepsynth.render.pairs import PairShaper
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
HEADING_SCALE = {1: 1.6, 2: 1.35, 3: 1.15}
_KEPT = 1 << 16
_POOL = 1 << 26
"""Words and bytes there is room for: about 57,000 French words of 16 px."""
_PAD = 64
"""Columns left and right of a word on the drawing canvas, for ink beyond its advance."""

Array = np.ndarray[Any, Any]


class NeedsShaping(Exception):
    """The text holds a character this path does not set; the whole document goes the other way."""


def _grown(array: Array) -> Array:
    return np.concatenate([array, np.zeros_like(array)])


class DrawnWords:
    """Words as page bytes, in four styles: text (0) and the headings (1 to 3).

    What is kept never changes a page: the bytes of a word depend on the word, the fonts and the
    settings alone. `make_room` empties the cache when it is full, so memory stays bounded.

    Attributes:
        table: Measures of every word, see `layout.ADVANCE`.
        where: Where its bytes start in `pool`.
        pool: The bytes of all words.
        heights: Line height of each style in pixels.
        spaces: Word space of each style in cells.
        widest: The longest a word may be, in pixels; longer ones are broken.
    """

    def __init__(self, settings: PageSettings, fonts: tuple[Font, ...], widest: int) -> None:
        self._bits = settings.bits
        self._cell = 8 // settings.bits
        self.widest = widest
        text, heading = fonts[0], fonts[1]
        self._faces = [Typeface(text.path, settings.size_px)]
        self._faces += [
            Typeface(heading.path, settings.size_px * scale) for scale in HEADING_SCALE.values()
        ]
        # A font of the user's may have rules that look beyond the next letter.
        self._pairs = None if text.package == "given" else PairShaper(self._faces[0])
        self.heights = [settings.line_height] + [
            (face.ascent + face.descent) * 9 // 8 for face in self._faces[1:]
        ]
        self._baselines = [
            face.ascent + max(0, height - face.ascent - face.descent + 1) // 2
            for face, height in zip(self._faces, self.heights, strict=True)
        ]
        self.spaces = [max(1, round(face.shape(" ")[1] / 64 / self._cell)) for face in self._faces]
        self._simple = [
            frozenset(
                chr(code)
                for first, last in _SIMPLE
                for code in range(first, last + 1)
                if code in face.covered
            )
            for face in self._faces
        ]
        self._canvas = np.zeros((max(self.heights), widest + 2 * _PAD), np.uint8)
        self._box = np.zeros(4, np.int64)
        self._forget()

    def _forget(self) -> None:
        # Filled, so that the memory is taken now: it does not grow with the number of documents.
        self.table: Array = np.full((_KEPT, 5), 0, np.int32)
        self.where: Array = np.full(_KEPT, 0, np.int64)
        self.pool: Array = np.full(_POOL, 255, np.uint8)
        self.numbers: list[dict[str, int]] = [{} for _ in self._faces]
        self._broken: dict[tuple[int, str], list[int]] = {}
        self._count = 0
        self._used = 0

    def make_room(self) -> None:
        """Empty the cache when it is nearly full; between documents only."""
        if self._count > _KEPT * 7 // 8 or self._used > _POOL * 7 // 8:
            self._forget()

    def covers(self, text: str, style: int = 0) -> bool:
        """Whether every character of `text` is for this path."""
        return self._simple[style].issuperset(text)

    def add(self, words: Iterable[str]) -> None:
        """Draw words of style 0 that are not known yet, most of them in one go.

        Raises:
            NeedsShaping: One of them is not for this path.
        """
        new = list(dict.fromkeys(words))
        if self._pairs is not None:
            new = self._add_by_pairs(new, self._pairs)
            for word in new:
                if not self.covers(word):
                    raise NeedsShaping(word)
                self._pairs.learn(word)
            new = self._add_by_pairs(new, self._pairs)
        for word in new:
            self.draw(word, 0)

    def _add_by_pairs(self, words: list[str], pairs: PairShaper) -> list[str]:
        """Draw the words whose letters and pairs are known; returns the others."""
        if not words:
            return words
        while self._count + len(words) > len(self.table):
            self.table, self.where = _grown(self.table), _grown(self.where)
        try:
            codes = np.frombuffer("".join(words).encode("utf-32-le"), np.uint32)
        except UnicodeEncodeError as error:
            raise NeedsShaping("a lone surrogate") from error
        numbers, used, self._count = pairs.draw(
            codes,
            np.cumsum([len(word) for word in words]),
            self._canvas[: self.heights[0]],
            _PAD,
            self._baselines[0],
            self.widest * 64,
            self._bits,
            self.pool,
            self._used,
            self.table,
            self.where,
            self._count,
        )
        full = used < 0
        self._used = -1 - used if full else used
        known = self.numbers[0]
        left: list[str] = []
        for word, number in zip(words, numbers.tolist(), strict=True):
            if number >= 0:
                known[word] = number
            else:
                left.append(word)
        if full:
            self.pool = _grown(self.pool)
            return self._add_by_pairs(left, pairs)
        return left

    def draw(self, word: str, style: int) -> list[int]:
        """The numbers of a word in any style, shaped by HarfBuzz; several when it is too wide.

        Raises:
            NeedsShaping: It is not for this path.
        """
        number = self.numbers[style].get(word)
        if number is not None:
            return [number]
        if broken := self._broken.get((style, word)):
            return broken
        if not self.covers(word, style):
            raise NeedsShaping(word)
        glyphs, advance = self._faces[style].shape(word)
        if advance <= self.widest * 64:
            number = self._keep(style, [(g, x, y) for g, _, x, y, _ in glyphs], advance)
            self.numbers[style][word] = number
            return [number]
        numbers: list[int] = []
        start = 0
        part: list[tuple[int, int, int]] = []
        for glyph, _, x, y, width in glyphs:
            if part and width and x + width - start > self.widest * 64:
                numbers.append(self._keep(style, part, x - start))
                part, start = [], x
            part.append((glyph, x - start, y))
        numbers.append(self._keep(style, part, advance - start))
        self._broken[style, word] = numbers
        return numbers

    def _keep(self, style: int, glyphs: list[tuple[int, int, int]], advance: int) -> int:
        face = self._faces[style]
        if self._count == len(self.table):
            self.table, self.where = _grown(self.table), _grown(self.where)
        placed = np.array([(face.drawn(g), x, y) for g, x, y in glyphs], np.int32)
        canvas = self._canvas[: self.heights[style]]
        if not layout.draw_word(
            placed.reshape(-1, 3),
            face.ink,
            face.atlas,
            canvas,
            _PAD,
            self._baselines[style],
            self._box,
        ):
            canvas[:] = 0
            raise NeedsShaping("ink outside the line")
        number = self._count
        while True:
            used = layout.keep_word(
                canvas, self._box, _PAD, self._bits, self.pool, self._used, self.table[number]
            )
            if used >= 0:
                break
            self.pool = _grown(self.pool)
        self.table[number, layout.ADVANCE] = ((advance + 32 >> 6) + self._cell - 1) // self._cell
        self.where[number] = self._used
        self._used = used
        self._count += 1
        return number
