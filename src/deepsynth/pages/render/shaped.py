"""The shaped path: any script, through Pango (bundled with pyvips-binary).

Pango does what the fast path leaves out: right-to-left order, scripts whose letters join or stack,
line breaks without spaces, and falling back to another font for what the text font lacks. Only the
fonts named in `fonts.yaml` are offered to it, so another font on the machine cannot change a page.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from deepsynth import durable
from deepsynth.errors import MissingDependency, install_extra
from deepsynth.pages.render.blocks import blocks
from deepsynth.pages.render.fonts import Font
from deepsynth.pages.render.glyphs import open_face
from deepsynth.pages.render.png import encode_grey
from deepsynth.pages.render.settings import PageSettings
from deepsynth.pages.render.words import HEADING_SCALE

_CHUNK = 4000
"""Characters given to Pango at once: its time grows faster than the text."""

_EM_SPACE = "\u2003"

# Emoji are bitmaps of one size; without the rule they would be drawn at that size.
_CONFIGURATION = """<?xml version='1.0'?>
<fontconfig>
<dir>{folder}</dir>
<cachedir>{cache}</cachedir>
<match target="font">
  <test name="outline"><bool>false</bool></test>
  <edit name="pixelsizefixupfactor" mode="assign">
    <divide><name target="pattern">pixelsize</name><name target="font">pixelsize</name></divide>
  </edit>
  <edit name="matrix" mode="assign">
    <times>
      <name>matrix</name>
      <matrix>
        <name>pixelsizefixupfactor</name><double>0</double>
        <double>0</double><name>pixelsizefixupfactor</name>
      </matrix>
    </times>
  </edit>
  <edit name="size" mode="assign">
    <divide><name>size</name><name>pixelsizefixupfactor</name></divide>
  </edit>
</match>
</fontconfig>
"""

Array = np.ndarray[Any, Any]


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "deepsynth" / "fonts"


def offer_only(fonts: tuple[Font, ...]) -> None:
    """Make `fonts` the only ones Pango sees in this process; call before the first text."""
    digest = hashlib.sha256("".join(font.sha256 for font in fonts).encode()).hexdigest()[:16]
    folder = _cache_folder() / digest
    folder.mkdir(parents=True, exist_ok=True)
    for font in fonts:
        link = folder / f"{font.sha256[:8]}-{font.path.name}"
        if not link.exists():
            with durable.appearing(link) as draft:
                shutil.copyfile(font.path, draft)
    configuration = folder / "fonts.conf"
    durable.write_text(
        configuration,
        _CONFIGURATION.format(folder=escape(str(folder)), cache=escape(str(folder / "cache"))),
    )
    os.environ["FONTCONFIG_FILE"] = str(configuration)


class CannotBeSet(Exception):
    """Pango refuses a text; the message is its own."""


class ShapedTypesetter:
    """Sets documents through Pango and cuts them into pages between lines."""

    def __init__(self, settings: PageSettings, fonts: tuple[Font, ...]) -> None:
        offer_only(fonts)
        try:
            import pyvips
        except (ImportError, OSError) as error:
            raise MissingDependency(
                "this document needs Pango, through pyvips, which cannot be loaded",
                where="render",
                hint=install_extra("render"),
            ) from error
        pyvips.cache_set_max(0)
        self._text: Any = pyvips.Image.text
        self._failure: type[Exception] = pyvips.Error
        self._settings = settings
        face = open_face(fonts[0].path)
        self._family = face.get_name(1) or "DejaVu Sans"
        text_covers = frozenset(face.unicodes)
        self._emoji = frozenset(
            chr(code)
            for font in fonts
            if font.role == "emoji"
            for code in open_face(font.path).unicodes
            if code >= 0x2000 and code not in text_covers
        )

    def pages(self, text: str) -> tuple[list[bytes], bool]:
        """The pages of `text` as PNG files, and whether it was cut at the page limit."""
        settings = self._settings
        side, margin = settings.page_px, settings.margin
        bottom = side - margin
        found: list[bytes] = []
        page = np.full((side, side), 255, np.uint8)
        top = margin
        empty = True
        for markup in _markup(text, settings.size_px):
            ink, x, y = self._draw(markup)
            shift = top + y
            # Lines that go on the same page are copied together.
            start = 0
            for first, last in [*_bands(ink, bottom - margin), (len(ink), len(ink))]:
                full = shift + last > bottom and (start < first or not empty)
                if (full or first == len(ink)) and start < first:
                    _copy(ink[start:first], page, shift + start, margin + x)
                    start, empty = first, False
                if full:
                    if len(found) + 1 == settings.max_pages:
                        return [*found, encode_grey(page, settings.bits)], True
                    found.append(encode_grey(page, settings.bits))
                    page[:] = 255
                    shift, empty = margin - first, True
            top = shift + len(ink) + settings.line_height - settings.size_px
        if not empty:
            found.append(encode_grey(page, settings.bits))
        return found, False

    def _draw(self, markup: str) -> tuple[Array, int, int]:
        """Ink (0 none, 255 black) of a piece of text, and its place in the text area."""
        settings = self._settings
        in_colour = not self._emoji.isdisjoint(markup)
        try:
            image = self._text(
                markup,
                font=f"{self._family} {settings.size_px}",
                dpi=72,
                width=settings.page_px - 2 * settings.margin,
                wrap="word-char",
                rgba=in_colour,
            )
        except self._failure as error:
            if "no text to render" in str(error):
                return np.zeros((0, 1), np.uint8), 0, 0
            raise CannotBeSet(str(error).strip().splitlines()[-1]) from error
        x, y = max(0, image.get("xoffset")), max(0, image.get("yoffset"))
        pixels = image.numpy()
        if in_colour:
            colour = pixels.astype(np.uint32)
            light = (colour[..., 0] * 299 + colour[..., 1] * 587 + colour[..., 2] * 114) // 1000
            pixels = (colour[..., 3] * (255 - light) // 255).astype(np.uint8)
        return pixels.reshape(pixels.shape[0], pixels.shape[1]), x, y


def _copy(ink: Array, page: Array, top: int, left: int) -> None:
    """Put ink on a page; nothing is there yet."""
    target = page[top : top + len(ink), left : left + ink.shape[1]]
    np.subtract(255, ink[: len(target), : target.shape[1]], out=target)


def _bands(ink: Array, tallest: int) -> Iterator[tuple[int, int]]:
    """Rows of each stretch of ink between blank rows; one too tall for a page is cut."""
    inked = np.concatenate([[False], ink.any(axis=1), [False]])
    edges = np.flatnonzero(inked[1:] != inked[:-1])
    for first, last in edges.reshape(-1, 2).tolist():
        for start in range(first, last, tallest):
            yield start, min(start + tallest, last)


def _markup(text: str, size_px: int) -> Iterator[str]:
    """The text as Pango markup, in pieces of about `_CHUNK` characters."""
    lines: list[str] = []
    size = 0
    for block in blocks(text):
        if block is None:
            lines.append(f'<span size="{size_px // 2}pt"> </span>')
            continue
        start = _EM_SPACE * (2 * block.depth) + f"{block.marker} " if block.marker else ""
        for part in _parts(start + block.text):
            if block.heading:
                points = round(size_px * HEADING_SCALE[block.heading] * 1024)
                lines.append(f'<span size="{points}" weight="bold">{escape(part)}</span>')
            else:
                lines.append(escape(part))
            size += len(part)
            if size >= _CHUNK:
                yield "\n".join(lines)
                lines, size = [], 0
    if any(line.strip() for line in lines) and size:
        yield "\n".join(lines)


def _parts(line: str) -> Iterator[str]:
    """A line in parts of at most `_CHUNK` characters, cut at a space or between letters."""
    while len(line) > _CHUNK:
        cut = line.rfind(" ", _CHUNK // 2, _CHUNK)
        if cut < 0:
            cut = _CHUNK
            while cut > _CHUNK // 2 and _joins(line[cut - 1], line[cut]):
                cut -= 1
        yield line[:cut]
        line = line[cut:].lstrip(" ")
    yield line


def _joins(left: str, right: str) -> bool:
    joiners = "\u200d\u200c\ufe0f"
    return right in joiners or left in joiners or unicodedata.category(right)[0] == "M"
