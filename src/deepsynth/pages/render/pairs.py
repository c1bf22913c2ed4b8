"""Words from pairs of letters: what HarfBuzz says, without asking it for every new word.

In most words each letter becomes one glyph, and how far it advances depends on the next letter
alone (kerning). Then HarfBuzz need be asked once per pair of letters, not once per word. A pair
that becomes one glyph (fi, and ffi in two steps) counts as one more letter. Letters that shift or
stack (combining marks) are marked, and words with them are left to HarfBuzz. The result is the
same, which the tests verify; fonts with rules that look further are not for it.
"""

from __future__ import annotations

import unicodedata
from itertools import pairwise
from typing import Any

import numpy as np

from deepsynth.pages.render.glyphs import Glyph, Typeface
from deepsynth.pages.render.lexicon import JOINED, LETTERS, UNKNOWN

Array = np.ndarray[Any, Any]

_COMMON = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    ".,;:!?'’\"“”«»()[]-–—/%&€éèêëàâäîïôöûüùçßñáíóúœæÉÈÊÀÂÎÔÇÄÖÜ"
)
_PLANE = 1 << 16


class PairShaper:
    """The letters, ligatures and pairs of one typeface met so far."""

    def __init__(self, face: Typeface) -> None:
        self._face = face
        self.letter: Array = np.zeros(_PLANE, np.int16)
        self.glyph: Array = np.zeros(LETTERS, np.int32)
        self.advance: Array = np.full((LETTERS, LETTERS), UNKNOWN, np.int32)
        self._known: dict[str, tuple[int, int]] = {}
        """Number and glyph of each letter and ligature."""

    def learn(self, word: str) -> None:
        """Ask HarfBuzz about the letters and pairs of `word` not met before."""
        for char in word:
            if char not in self._known and ord(char) < _PLANE:
                self._learn_letter(char)
        letters: list[str] = []
        for char in word:
            if letters and JOINED < self._pair(letters[-1], char) <= JOINED + LETTERS:
                letters[-1] += char
            else:
                letters.append(char)
        for first, second in pairwise(letters):
            self._pair(first, second)

    def learn_common(self) -> None:
        """Ask about all pairs of the usual Latin letters, a row of the table at a time."""
        for char in _COMMON:
            if ord(char) in self._face.covered:
                self._learn_letter(char)
        letters = list(self._known)
        for first in letters:
            # Three characters a pair: the space keeps one pair from touching the next.
            glyphs, _ = self._face.shape("".join(f"{first}{second} " for second in letters))
            found: dict[int, list[Glyph]] = {}
            for glyph in glyphs:
                found.setdefault(glyph[1] // 3, []).append(glyph)
            for place, second in enumerate(letters):
                self._learn_pair(first, second, found[place][:-1])
        for ligature in list(self._known)[len(letters) :]:
            for letter in letters:
                self.learn(ligature + letter)
                self.learn(letter + ligature)

    def _learn_letter(self, char: str) -> None:
        glyphs, advance = self._face.shape(char)
        if len(glyphs) == 1 and not glyphs[0][2] and not glyphs[0][3]:
            self.letter[ord(char)] = self._number(char, glyphs[0][0], advance)

    def _number(self, letters: str, glyph: int, advance: int) -> int:
        """The number of a new letter or ligature, or 0 when there is none left."""
        number = len(self._known) + 1
        if number == LETTERS:
            return 0
        self._known[letters] = number, glyph
        self.glyph[number] = self._face.drawn(glyph)
        self.advance[number, 0] = advance
        return number

    def _pair(self, first: str, second: str) -> int:
        """What the table says of a pair, once HarfBuzz has been asked."""
        if first not in self._known or second not in self._known:
            return UNKNOWN
        place = self._known[first][0], self._known[second][0]
        if self.advance[place] == UNKNOWN:
            self._learn_pair(first, second, self._face.shape(first + second)[0])
        return int(self.advance[place])

    def _learn_pair(self, first: str, second: str, glyphs: list[Glyph]) -> None:
        (a, one), (b, two) = self._known[first], self._known[second]
        _, _, x, y, advance = glyphs[0]
        step = JOINED
        if [glyph for glyph, *_ in glyphs] == [one, two]:
            _, _, next_x, next_y, next_advance = glyphs[1]
            alone = next_advance == self.advance[b, 0]
            if alone and y == next_y == 0 and next_x - x == advance:
                step = advance
        elif len(glyphs) == 1 and y == 0 and not unicodedata.category(second[0]).startswith("M"):
            step = JOINED + self._number(first + second, glyphs[0][0], advance)
        self.advance[a, b] = step
