"""The fonts pages are set in: where they are, what they cover, and the digest that pins them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from deepsynth.durable import sha256_file
from deepsynth.errors import DataError, MissingDependency, install_extra

FOLDERS_VARIABLE = "DEEPSYNTH_FONTS"
_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "~/Library/Fonts",
    "/Library/Fonts",
)


@dataclass(frozen=True)
class Font:
    """A font file in use.

    Attributes:
        path: The file.
        sha256: Of its bytes; part of the settings a dataset is identified by.
        role: `text`, `heading`, `emoji`, or empty for a fallback.
        package: What installs it.
        licence: SPDX identifier or the name of its licence.
    """

    path: Path
    sha256: str
    role: str
    package: str
    licence: str


@cache
def _known_fonts() -> list[dict[str, Any]]:
    text = files("deepsynth.pages.render").joinpath("fonts.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def _matplotlib_fonts() -> Path | None:
    # The folder is found without importing matplotlib, which takes half a second.
    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"


@cache
def _files_by_name() -> dict[str, Path]:
    folders = [*os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep), *_FOLDERS]
    found: dict[str, Path] = {}
    for folder in (Path(name).expanduser() for name in folders if name):
        for path in sorted(folder.rglob("*.[to]t[fc]")):
            found.setdefault(path.name, path)
    return found


def find_fonts(text_font: Path | None = None) -> tuple[Font, ...]:
    """The fonts of this machine that pages may use, text and heading font first.

    Args:
        text_font: A font file for text instead of DejaVu Sans, for example a medieval one.
            Headings are set in it too.

    Raises:
        MissingDependency: DejaVu Sans is not installed.
        DataError: `text_font` does not exist.
    """
    if text_font is not None and not text_font.is_file():
        raise DataError("no such font file", where=text_font, hint="Give the path of a font file.")
    shipped = _matplotlib_fonts()
    fonts: list[Font] = []
    for entry in _known_fonts():
        role = entry.get("role", "")
        if role in ("text", "heading"):
            path = shipped / entry["file"] if shipped else None
            if path is None or not path.is_file():
                raise MissingDependency(
                    f"the font {entry['file']} is not installed; it comes with matplotlib",
                    where="render",
                    hint=install_extra("render"),
                )
            if text_font is not None:
                fonts.append(Font(text_font, sha256_file(text_font), role, "given", "unknown"))
                role = ""
                if fonts[-1].role == "heading":
                    continue
        else:
            path = _files_by_name().get(entry["file"])
            if path is None:
                continue
        fonts.append(Font(path, sha256_file(path), role, entry["package"], entry["licence"]))
    return tuple(sorted(fonts, key=lambda font: {"text": 0, "heading": 1}.get(font.role, 2)))


def coverage(fonts: Iterable[Font]) -> frozenset[int]:
    """Code points at least one of the fonts has a glyph for."""
    from deepsynth.pages.render.glyphs import open_face

    return frozenset().union(*(open_face(font.path).unicodes for font in fonts))


def install_hint(characters: Iterable[str]) -> str:
    """Which font packages the scripts of `characters` need: one line for the user."""
    scripts = sorted({unicodedata.name(char, "UNNAMED").split()[0] for char in characters})
    lines: list[str] = []
    for script in scripts:
        for entry in _known_fonts():
            if script in entry.get("scripts", ()):
                lines.append(
                    f"{script.title()}: apt install {entry['package']}"
                    f" (macOS: brew install --cask {entry['cask']})"
                )
    emoji = any(unicodedata.category(char) == "So" for char in characters)
    if emoji and not lines:
        lines.append("Symbols and emoji: apt install fonts-noto-core fonts-noto-color-emoji")
    return "; ".join(dict.fromkeys(lines)) or (
        f"No known font package covers {', '.join(scripts)}; put a font that does in a folder"
        f" and name the folder in {FOLDERS_VARIABLE}."
    )
