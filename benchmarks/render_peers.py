"""Other ways from text to page images, each written as its users write it.

Every class takes documents with `pages(text) -> list of PNG files`. All but the naive way draw
pages of 1024 x 1024 greys in 16 px DejaVu Sans on 20 px lines, and are lent DeepSynth's fast PNG
writer, so that what differs is how the text is drawn. One also shows a library's own PNG writer.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deepsynth.pages.render.png import encode_grey

SIDE, MARGIN, SIZE, LINE = 1024, 32, 16, 20


class Naive:
    """One tall RGB page per document: wrapped at 100 characters, Pillow's own PNG writer."""

    name = "naive: Pillow, one tall RGB page, Dataset.from_list"
    max_height = 6000

    def __init__(self, font: Path) -> None:
        self.font: Any = ImageFont.load_default(10)

    def pages(self, text: str) -> list[Image.Image]:
        """The pages of a document."""
        lines = [line for part in text.split("\n") for line in textwrap.wrap(part, 100) or [""]]
        height = min(self.max_height, 40 + 14 * len(lines))
        image = Image.new("RGB", (800, height), "white")
        draw = ImageDraw.Draw(image)
        for number, line in enumerate(lines):
            draw.text((20, 20 + 14 * number), line, font=self.font, fill="black")
        return [image]

    def missing(self, texts: list[str]) -> int:
        """Characters drawn as the box the font has for what it does not know."""
        box = bytes(self.font.getmask("\uffff"))
        drawn = {char for text in texts for char in text if not char.isspace()}
        boxes = [char for char in drawn if bytes(self.font.getmask(char)) == box]
        return sum(text.count(char) for text in texts for char in boxes)


class NaiveDejaVu(Naive):
    """The same with a font that has accents, 12 px."""

    name = "naive with DejaVu Sans 12"

    def __init__(self, font: Path) -> None:
        self.font = ImageFont.truetype(str(font), 12)


class PillowPages:
    """Pillow, page by page, with measured line breaks."""

    name = "Pillow, square pages"

    def __init__(self, font: Path) -> None:
        self._font = ImageFont.truetype(str(font), SIZE, layout_engine=ImageFont.Layout.BASIC)
        self._space = self._font.getlength(" ")

    def pages(self, text: str) -> list[bytes]:
        """The pages of a document."""
        lines: list[str] = []
        for paragraph in text.split("\n"):
            line: list[str] = []
            width = 0.0
            for word in paragraph.split():
                advance = self._font.getlength(word)
                if line and width + self._space + advance > SIDE - 2 * MARGIN:
                    lines.append(" ".join(line))
                    line, width = [], 0.0
                width += advance + (self._space if line else 0)
                line.append(word)
            lines.append(" ".join(line))
        per_page = (SIDE - 2 * MARGIN) // LINE
        pages: list[bytes] = []
        for first in range(0, len(lines), per_page):
            image = Image.new("L", (SIDE, SIDE), 255)
            draw = ImageDraw.Draw(image)
            for number, line_text in enumerate(lines[first : first + per_page]):
                draw.text((MARGIN, MARGIN + LINE * number), line_text, font=self._font, fill=0)
            pages.append(encode_grey(np.asarray(image), 8))
        return pages


def _lent(page: np.ndarray[Any, Any]) -> bytes:
    return encode_grey(page, 8)


def _own(page: np.ndarray[Any, Any]) -> bytes:
    import pyvips

    return pyvips.Image.new_from_array(page).pngsave_buffer(compression=1, filter="none")


def _cut(
    ink: np.ndarray[Any, Any], encode: Callable[[np.ndarray[Any, Any]], bytes] = _lent
) -> list[bytes]:
    """Pages from one tall image of ink, cut between lines."""
    pages: list[bytes] = []
    room = SIDE - 2 * MARGIN
    top = 0
    while top < len(ink):
        bottom = min(top + room, len(ink))
        if bottom < len(ink):
            blank = np.flatnonzero(~ink[top:bottom].any(axis=1))
            bottom = top + int(blank[-1]) if len(blank) and blank[-1] > 0 else bottom
        page = np.full((SIDE, SIDE), 255, np.uint8)
        part = ink[top:bottom]
        page[MARGIN : MARGIN + len(part), MARGIN : MARGIN + part.shape[1]] -= part
        pages.append(encode(page))
        top = bottom
    return pages


class Pyvips:
    """Pango through pyvips."""

    name = "pyvips (Pango)"

    def __init__(self, font: Path) -> None:
        import pyvips

        pyvips.cache_set_max(0)
        self._text = pyvips.Image.text

    def pages(self, text: str) -> list[bytes]:
        """The pages of a document."""
        from xml.sax.saxutils import escape

        image = self._text(
            escape(text), font=f"DejaVu Sans {SIZE}", dpi=72, width=SIDE - 2 * MARGIN, spacing=1
        )
        pixels = image.numpy()
        return _cut(pixels.reshape(pixels.shape[0], pixels.shape[1]))


class PangoCairo:
    """Pango through pangocffi and cairo."""

    name = "pangocffi + cairo"
    _encode = staticmethod(_lent)

    def __init__(self, font: Path) -> None:
        import cairocffi
        import pangocairocffi
        import pangocffi

        self._cairo, self._pango, self._bridge = cairocffi, pangocffi, pangocairocffi
        surface = cairocffi.ImageSurface(cairocffi.FORMAT_A8, SIDE, SIDE)
        self._layout = pangocairocffi.create_layout(cairocffi.Context(surface))
        description = pangocffi.FontDescription()
        description.family = "DejaVu Sans"
        description.set_absolute_size(pangocffi.units_from_double(SIZE))
        self._layout.font_description = description
        self._layout.width = pangocffi.units_from_double(SIDE - 2 * MARGIN)
        self._layout.spacing = pangocffi.units_from_double(1)
        self._layout.wrap = pangocffi.WrapMode.WORD_CHAR

    def pages(self, text: str) -> list[bytes]:
        """The pages of a document."""
        self._layout.text = text
        height = -(-self._layout.get_extents()[1].height // 1024)
        surface = self._cairo.ImageSurface(self._cairo.FORMAT_A8, SIDE - 2 * MARGIN, height)
        self._bridge.show_layout(self._cairo.Context(surface), self._layout)
        surface.flush()
        ink = np.frombuffer(surface.get_data(), np.uint8).reshape(height, surface.get_stride())
        return _cut(ink[:, : SIDE - 2 * MARGIN], self._encode)


class PangoCairoOwnPng(PangoCairo):
    """The same with the PNG writer of pyvips, at its fastest level."""

    name = "pangocffi + cairo, PNG by pyvips"
    _encode = staticmethod(_own)


class ReportlabPdfium:
    """A PDF set by reportlab and drawn by PDFium, as for Glyph's data."""

    name = "reportlab + PDFium"

    def __init__(self, font: Path) -> None:
        from reportlab.pdfbase import pdfmetrics
        from reportlab.pdfbase.ttfonts import TTFont

        pdfmetrics.registerFont(TTFont("Text", str(font)))

    def pages(self, text: str) -> list[bytes]:
        """The pages of a document."""
        import pypdfium2
        from reportlab.lib.styles import ParagraphStyle
        from reportlab.platypus import Paragraph, SimpleDocTemplate

        stream = io.BytesIO()
        style = ParagraphStyle("text", fontName="Text", fontSize=SIZE, leading=LINE)
        document = SimpleDocTemplate(
            stream,
            pagesize=(SIDE, SIDE),
            leftMargin=MARGIN - 6,
            rightMargin=MARGIN - 6,
            topMargin=MARGIN - 6,
            bottomMargin=MARGIN - 6,
        )
        from xml.sax.saxutils import escape

        document.build([Paragraph(escape(part), style) for part in text.split("\n")])
        pdf = pypdfium2.PdfDocument(stream.getvalue())
        pages = [
            encode_grey(
                np.ascontiguousarray(page.render(grayscale=True).to_numpy().reshape(SIDE, SIDE)), 8
            )
            for page in pdf
        ]
        pdf.close()
        return pages


PEERS = (Naive, NaiveDejaVu, PillowPages, Pyvips, PangoCairo, PangoCairoOwnPng, ReportlabPdfium)
