"""Shaping and glyph bitmaps: what HarfBuzz says a word looks like in one typeface and size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import uharfbuzz

from deepsynth.errors import DataError

Array = np.ndarray[Any, Any]
Glyph = tuple[int, int, int, int, int]
"""Glyph, cluster, x, y and advance, the last three in 1/64 pixel."""
hb: Any = uharfbuzz  # compiled, without type stubs


def open_face(path: Path) -> Any:
    """The first face of a font file, or a `DataError` when the file is not a font."""
    try:
        blob = hb.Blob.from_file_path(str(path))
        face = hb.Face(blob)
        usable = face.glyph_count > 0 and len(face.unicodes) > 0
    except Exception as error:  # uharfbuzz raises its own bare classes
        raise DataError("cannot be read as a font", where=path, hint=str(error)) from error
    if not usable:
        raise DataError(
            "is not a font: no glyphs in it", where=path, hint="Give a TrueType or OpenType file."
        )
    return face


class Typeface:
    """One font at one size: shapes words and keeps the bitmaps of their glyphs.

    Attributes:
        atlas: Coverage (0..255) of all glyphs drawn so far, one after the other.
        ink: (glyphs, 5) where each starts in the atlas, width, height, x and y of its ink box.
        ascent: Pixels from the top of a line to its baseline.
        descent: Pixels from the baseline down.
        covered: Code points the font has a glyph for.
    """

    def __init__(self, path: Path, size_px: float) -> None:
        face = open_face(path)
        self._font = hb.Font(face)
        scale = round(size_px * 64)
        self._font.scale = (scale, scale)
        self.covered: frozenset[int] = frozenset(face.unicodes)
        extents = self._font.get_font_extents("ltr")
        self.ascent = -(-extents.ascender // 64)
        self.descent = -(extents.descender // 64)
        self._raster = hb.RasterDraw()
        self._raster.scale_factor = (64, 64)
        self._rows: dict[int, int] = {}
        self.atlas: Array = np.zeros(1 << 18, np.uint8)
        self._atlas_used = 0
        self.ink: Array = np.zeros((1024, 5), np.int32)

    def shape(self, word: str) -> tuple[list[Glyph], int]:
        """Glyphs of `word`, and its advance in 1/64 pixel."""
        buffer = hb.Buffer()
        buffer.add_str(word)
        buffer.guess_segment_properties()
        hb.shape(self._font, buffer)
        glyphs: list[Glyph] = []
        x = 0
        for info, position in zip(buffer.glyph_infos, buffer.glyph_positions, strict=True):
            glyphs.append(
                (
                    info.codepoint,
                    info.cluster,
                    x + position.x_offset,
                    position.y_offset,
                    position.x_advance,
                )
            )
            x += position.x_advance
        return glyphs, x

    def drawn(self, glyph: int) -> int:
        """The row of `ink` for `glyph`, which is drawn when first asked for."""
        found = self._rows.get(glyph)
        return self._draw(glyph) if found is None else found

    def _draw(self, glyph: int) -> int:
        row = len(self._rows)
        if row == len(self.ink):
            self.ink = np.concatenate([self.ink, np.zeros_like(self.ink)])
        if self._raster.draw_glyph_or_fail(self._font, glyph):
            image = self._raster.render()
            box = image.extents
            if box.width and box.height:
                # Rows run upwards in HarfBuzz and are padded to the stride.
                coverage = np.frombuffer(image.buffer, np.uint8).reshape(box.height, box.stride)
                coverage = coverage[::-1, : box.width]
                end = self._atlas_used + coverage.size
                while end > len(self.atlas):
                    self.atlas = np.concatenate([self.atlas, np.zeros_like(self.atlas)])
                self.atlas[self._atlas_used : end] = coverage.ravel()
                top = -(box.y_origin + box.height)
                self.ink[row] = (self._atlas_used, box.width, box.height, box.x_origin, top)
                self._atlas_used = end
        self._rows[glyph] = row
        return row
