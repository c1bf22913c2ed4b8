"""The fast path: Latin, Greek and Cyrillic documents, put together from drawn words."""

from __future__ import annotations

import re
import zlib

import numpy as np

from deepsynth.pages.render import layout
from deepsynth.pages.render.blocks import BULLET, MAX_DEPTH, parse_line
from deepsynth.pages.render.fonts import Font
from deepsynth.pages.render.png import encode_rows
from deepsynth.pages.render.settings import PageSettings
from deepsynth.pages.render.words import HEADING_SCALE, DrawnWords

_BREAKING_SPACE = re.compile(r"[^\S\xa0\u202f]+")


class Typesetter:
    """Sets documents in one text font; keeps every word it has drawn."""

    def __init__(self, settings: PageSettings, fonts: tuple[Font, ...]) -> None:
        self._bits = settings.bits
        cell = 8 // settings.bits
        side = settings.page_px
        self._max_pages = settings.max_pages
        self._margin, self._margin_cells = settings.margin, settings.margin // cell
        step = settings.size_px * 3 // 2 // cell
        widest = side - 2 * settings.margin - (MAX_DEPTH + 2) * step * cell
        self._drawn = DrawnWords(settings, fonts, widest)
        spaces, heights = self._drawn.spaces, self._drawn.heights
        self._kinds = np.array(
            [(height, 0, 0, space) for height, space in zip(heights, spaces, strict=True)]
            + [(heights[0], d * step, (d + 1) * step, spaces[0]) for d in range(MAX_DEPTH + 1)],
            np.int32,
        )
        self._gap = settings.line_height // 2
        self._page = np.full((side, side // cell + 1), 255, np.uint8)
        self._page[:, 0] = 0
        self._blank = zlib.adler32(self._page.tobytes())
        self._placed = np.zeros((side * side // 8, 3), np.int32)

    def pages(self, text: str) -> tuple[list[bytes], bool]:
        """The pages of `text` as PNG files, and whether it was cut at the page limit.

        Raises:
            NeedsShaping: The text is not for this path.
        """
        drawn = self._drawn
        drawn.make_room()
        items = drawn.read(text, self._line)
        state = np.zeros(3, np.int64)
        found: list[bytes] = []
        side, stride = self._page.shape
        while True:
            placed = layout.lay_out_page(
                items,
                state,
                drawn.table,
                self._kinds,
                self._placed,
                stride - 1,
                side - self._margin,
                self._margin_cells,
                self._margin,
                self._gap,
            )
            if placed == 0:
                return found, False
            if len(found) == self._max_pages:
                return found, True
            checksum = layout.draw_page(
                self._placed,
                placed,
                drawn.table,
                drawn.where,
                drawn.darkness,
                drawn.pool,
                self._page,
                self._blank,
            )
            found.append(encode_rows(self._page, self._bits, checksum))

    def _line(self, line: str) -> list[int]:
        """The items of a line that may be a heading or a list item."""
        block = parse_line(line)
        if not block.heading and not block.marker:
            return self._drawn.read(line).tolist()
        style = block.heading
        items = [layout.FIRST_KIND - (style or len(HEADING_SCALE) + 1 + block.depth)]
        words = [word for word in _BREAKING_SPACE.split(block.text) if word]
        if block.marker:
            bullet_missing = block.marker == BULLET and not self._drawn.covers(BULLET)
            words.insert(0, "-" if bullet_missing else block.marker)
        for word in words:
            items += self._drawn.draw(word, style)
        items.append(layout.END_OF_LINE)
        return items
