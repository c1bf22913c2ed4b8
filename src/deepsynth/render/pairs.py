"""Words from pairs of letters: what HarfBuzz says, without asking it for every new word.

In most words each letter becomes one glyph, and how far it advances depends on the next letter
alone (kerning). Then HarfBuzz need be asked once per pair of letters, not once per word. Pairs that
join, shift or stack (ligatures, combining marks) are marked, and words with them are left to it.
The result is the same, which the tests verify; fonts with rules over three letters are not for it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from deepsynth.render.glyphs import Typeface
from deepsynth.render.lexicon import JOINED, UNKNOWN

Array = np.ndarray[Any, Any]

_COMMON = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    ".,;:!?'’\"“”«»()[]-–—/%&€éèêëàâäîïôöûüùçßñáíóúœæÉÈÊÀÂÎÔÇÄÖÜ"
)
_LETTERS = 1024
_PLANE = 1 << 16


class PairShaper:
    """The letters and pairs of one typeface met so far."""

    def __init__(self, face: Typeface) -> None:
        self._face = face
        self.letter: Array = np.zeros(_PLANE, np.int16)
        self.glyph: Array = np.zeros(_LETTERS, np.int32)
        self.advance: Array = np.full((_LETTERS, _LETTERS), UNKNOWN, np.int32)
        self._letters = 1
        self._nominal: dict[str, tuple[int, int]] = {}

    def learn(self, word: str) -> None:
        """Ask HarfBuzz about the letters and pairs of `word` not met before."""
        for char in word:
            if self.letter[ord(char) & 0xFFFF] == 0 and ord(char) < _PLANE:
                self._learn_letter(char)
        for first, second in pairwise(word):
            if first in self._nominal and second in self._nominal:
                a, b = self.letter[ord(first)], self.letter[ord(second)]
                if self.advance[a, b] == UNKNOWN:
                    self.advance[a, b] = self._advance(first, second)

    def learn_common(self) -> None:
        """Ask about all pairs of the usual Latin letters, a row of the table at a time."""
        letters = [char for char in _COMMON if ord(char) in self._face.covered]
        for char in letters:
            self._learn_letter(char)
        letters = [char for char in letters if char in self._nominal]
        for first in letters:
            a, nominal = self.letter[ord(first)], self._nominal[first][0]
            # Three characters a pair: the space keeps one pair from touching the next.
            glyphs, _ = self._face.shape("".join(f"{first}{second} " for second in letters))
            found: dict[int, list[tuple[int, int, int, int, int]]] = {}
            for glyph in glyphs:
                found.setdefault(glyph[1] // 3, []).append(glyph)
            for place, second in enumerate(letters):
                one, *rest = found[place]
                two = rest[0]
                alone = len(rest) == 2 and (one[0], two[0]) == (nominal, self._nominal[second][0])
                level = one[3] == two[3] == 0 and two[2] - one[2] == one[4]
                self.advance[a, self.letter[ord(second)]] = one[4] if alone and level else JOINED

    def _learn_letter(self, char: str) -> None:
        glyphs, advance = self._face.shape(char)
        if self._letters == _LETTERS or len(glyphs) != 1 or glyphs[0][2] or glyphs[0][3]:
            return
        number = self._letters
        self._letters += 1
        self._nominal[char] = glyphs[0][0], advance
        self.letter[ord(char)] = number
        self.glyph[number] = self._face.drawn(glyphs[0][0])
        self.advance[number, 0] = advance

    def _advance(self, first: str, second: str) -> int:
        glyphs, total = self._face.shape(first + second)
        expected = [self._nominal[first][0], self._nominal[second][0]]
        if [glyph for glyph, *_ in glyphs] != expected or any(y for *_, y, _ in glyphs):
            return JOINED
        step, width = glyphs[1][2], self._nominal[second][1]
        return step if step == glyphs[0][4] and total == step + width else JOINED
