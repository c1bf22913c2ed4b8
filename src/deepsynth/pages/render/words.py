"""The cache of drawn words: each distinct word is shaped and drawn once, then only copied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from deepsynth.pages.render import layout, lexicon
from deepsynth.pages.render.fonts import Font
from deepsynth.pages.render.glyphs import Typeface
from deepsynth.pages.render.pairs import PairShaper
from deepsynth.pages.render.settings import PageSettings

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
# All but the two no-break spaces.
_SPACES = (
    *range(0x09, 0x0E),
    *range(0x1C, 0x21),
    *(0x85, 0x1680),
    *range(0x2000, 0x200B),
    *(0x2028, 0x2029, 0x205F, 0x3000),
)
_LINE_BREAKS = (*range(0x0A, 0x0E), 0x1C, 0x1D, 0x1E, 0x85, 0x2028, 0x2029)
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
        darkness: What each word takes from the checksum of a page, see `layout.INK`.
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
        self._pairs = PairShaper(self._faces[0])
        # A font of the user's may have rules that look beyond the next letter.
        self._learns = text.package != "given"
        if self._learns:
            self._pairs.learn_common()
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
        self._kind = np.zeros(1 << 16, np.uint8)
        self._kind[[ord(char) for char in self._simple[0]]] = lexicon.LETTER
        self._kind[list(_SPACES)] = lexicon.SPACE
        self._kind[list(_LINE_BREAKS)] = lexicon.LINE_BREAK
        self._canvas = np.zeros((max(self.heights), widest + 2 * _PAD), np.uint8)
        self._box = np.zeros(4, np.int64)
        self._forget()

    def _forget(self) -> None:
        # Filled, so that the memory is taken now: it does not grow with the number of documents.
        self.table: Array = np.full((_KEPT, 5), 0, np.int32)
        self.where: Array = np.full(_KEPT, 0, np.int64)
        self.darkness: Array = np.full((_KEPT, 3), 0, np.int64)
        self.pool: Array = np.full(_POOL, 255, np.uint8)
        self._slots = np.full(2 * _KEPT, 0, np.int32)
        self._keys = np.full(16 * _KEPT, 0, np.uint32)
        self._spans = np.full((_KEPT, 2), 0, np.int32)
        self._state = np.zeros(3, np.int64)
        self._numbers: dict[tuple[int, str], list[int]] = {}

    def make_room(self) -> None:
        """Empty the cache when it is nearly full; between documents only."""
        limits = _KEPT * 7 // 8, _POOL * 7 // 8, len(self._keys) * 7 // 8
        if any(used > limit for used, limit in zip(self._state.tolist(), limits, strict=True)):
            self._forget()

    def covers(self, text: str, style: int = 0) -> bool:
        """Whether every character of `text` is for this path."""
        return self._simple[style].issuperset(text)

    def read(self, text: str, structured: Callable[[str], list[int]] | None = None) -> Array:
        """The items of a text for `layout.lay_out_page`, in style 0; new words are drawn.

        Args:
            text: Lines of text.
            structured: Gives the items of a line that may be Markdown; None when none is.

        Raises:
            NeedsShaping: A character is not for this path.
        """
        try:
            codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        except UnicodeEncodeError as error:
            raise NeedsShaping("a lone surrogate") from error
        items = np.empty(len(codes) + 2, np.int32)
        left = np.empty((len(codes) + 1, 4), np.int32)
        count, waiting, other = lexicon.read_text(
            self._tables(),
            codes,
            structured is not None,
            items,
            left,
            _PAD,
            self._baselines[0],
            self.widest * 64,
            self._bits,
        )
        if other >= 0:
            raise NeedsShaping(text[other])
        if not waiting:
            return items[:count]
        parts: list[Any] = []
        done = 0
        for place, start, end, is_line in left[:waiting].tolist():
            parts.append(items[done:place])
            part = text[start:end]
            parts.append(structured(part) if structured and is_line else self.draw(part, 0))
            done = place + 1
        parts.append(items[done:count])
        return np.concatenate(parts).astype(np.int32)

    def _tables(self) -> lexicon.Tables:
        face, pairs = self._faces[0], self._pairs
        return lexicon.Tables(
            self._kind,
            pairs.letter,
            pairs.glyph,
            pairs.advance,
            face.ink,
            face.atlas,
            self._canvas[: self.heights[0]],
            self.table,
            self.where,
            self.darkness,
            self.pool,
            self._slots,
            self._keys,
            self._spans,
            self._state,
        )

    def draw(self, word: str, style: int) -> list[int]:
        """The numbers of a word in any style, shaped by HarfBuzz; several when it is too wide.

        Raises:
            NeedsShaping: It is not for this path.
        """
        found = self._numbers.get((style, word))
        if found is not None:
            return found
        if not self.covers(word, style):
            raise NeedsShaping(word)
        if style == 0 and self._learns:
            self._pairs.learn(word)
        glyphs, advance = self._faces[style].shape(word)
        numbers: list[int] = []
        start = 0
        part: list[tuple[int, int, int]] = []
        for glyph, _, x, y, width in glyphs:
            if part and width and x + width - start > self.widest * 64:
                numbers.append(self._keep(style, part, x - start))
                part, start = [], x
            part.append((glyph, x - start, y))
        numbers.append(self._keep(style, part, advance - start))
        self._numbers[style, word] = numbers
        if style == 0 and len(numbers) == 1:
            codes = np.frombuffer(word.encode("utf-32-le"), np.uint32)
            lexicon.remember(self._tables(), codes, 0, len(codes), numbers[0])
        return numbers

    def _keep(self, style: int, glyphs: list[tuple[int, int, int]], advance: int) -> int:
        face = self._faces[style]
        number = int(self._state[lexicon.COUNT])
        if number == len(self.table):
            self.table, self.where = _grown(self.table), _grown(self.where)
            self.darkness = _grown(self.darkness)
        placed = np.array([(face.drawn(g), x, y) for g, x, y in glyphs], np.int32)
        canvas = self._canvas[: self.heights[style]]
        if not lexicon.draw_word(
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
        while True:
            used = lexicon.keep_word(
                canvas,
                self._box,
                _PAD,
                self._bits,
                self.pool,
                self._state[lexicon.USED],
                self.table[number],
                self.darkness[number],
            )
            if used >= 0:
                break
            self.pool = _grown(self.pool)
        self.table[number, layout.ADVANCE] = ((advance + 32 >> 6) + self._cell - 1) // self._cell
        self.where[number] = self._state[lexicon.USED]
        self._state[lexicon.USED] = used
        self._state[lexicon.COUNT] = number + 1
        return number
