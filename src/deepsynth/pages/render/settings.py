"""What a page looks like: the settings that, with the text, decide every byte of it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deepsynth.checks import Finding, Severity
from deepsynth.durable import sha256_value
from deepsynth.errors import RequestError
from deepsynth.pages.render.modes import MODES, Mode, mode_named

LAYOUT_VERSION = 1
"""Raised whenever the same text and settings would give another page."""
PROFILES = {"standard": 8, "small": 4}
"""Bits of grey per pixel: all 256 greys, or 16 in a file about a quarter smaller."""
DEGRADATIONS = ("skew", "blur", "noise", "paper", "bleed")
SMALLEST_PX, SMALL_PX, LARGEST_PX = 8, 10, 64
_VERSIONED = ("uharfbuzz", "isal", "numpy", "pyvips", "pyvips-binary", "pyarrow", "pillow")


@dataclass(frozen=True)
class PageSettings:
    """How text becomes pages.

    Attributes:
        mode: Page size by name, see `MODES`.
        size_px: Height of the type in pixels. Ten is the least that reads well, eight the least.
        profile: `standard` (256 greys) or `small` (16 greys).
        degrade: Defects of scanned paper to add, of `DEGRADATIONS`; none for clean pages.
        seed: Of the degradation; clean pages do not depend on it.
        font: A font file for the text instead of DejaVu Sans.
        max_pages: A document is cut after this many pages, and counted.
        max_characters: A longer document is not drawn at all, and counted.
        max_missing: Share of a document's characters that may lack a glyph in every font.
    """

    mode: str = "base"
    size_px: int = 16
    profile: str = "standard"
    degrade: tuple[str, ...] = ()
    seed: int = 0
    font: Path | None = None
    max_pages: int = 64
    max_characters: int = 1_000_000
    max_missing: float = 0.02

    def __post_init__(self) -> None:
        mode_named(self.mode)
        if self.profile not in PROFILES:
            known = ", ".join(PROFILES)
            raise RequestError(
                f"{self.profile!r} is not a profile", where="profile", hint=f"Profiles: {known}."
            )
        for name in self.degrade:
            if name not in DEGRADATIONS:
                raise RequestError(
                    f"{name!r} is not a degradation",
                    where="degrade",
                    hint=f"Choose from {', '.join(DEGRADATIONS)}, or scan for all of them.",
                )
        if not SMALLEST_PX <= self.size_px <= LARGEST_PX:
            raise RequestError(
                f"type of {self.size_px} px is outside {SMALLEST_PX} to {LARGEST_PX} px",
                where="size_px",
                hint="Below 8 px letters run together; 16 px suits the base mode.",
            )

    @property
    def page_mode(self) -> Mode:
        """The mode, with its page size and its price in tokens."""
        return MODES[self.mode]

    @property
    def page_px(self) -> int:
        """Side of the page in pixels."""
        return self.page_mode.page_px

    @property
    def bits(self) -> int:
        """Bits per pixel of a clean page."""
        return PROFILES[self.profile]

    @property
    def line_height(self) -> int:
        """Pixels from one baseline to the next: 1.25 times the type."""
        return -(-self.size_px * 5 // 4)

    @property
    def margin(self) -> int:
        """Pixels of white on each side."""
        return self.page_px // 32

    def findings(self) -> list[Finding]:
        """What is allowed but unwise."""
        if self.size_px >= SMALL_PX:
            return []
        return [
            Finding(
                Severity.WARNING,
                "page-small-type",
                "size_px",
                f"type of {self.size_px} px is hard to read: about 1 character in 300 to 700 is"
                " misread at 8 and 9 px, 1 in 3,000 at 10 px",
                "Use 10 px or more.",
            )
        ]

    def as_dict(self) -> dict[str, Any]:
        """Settings, versions and fonts as plain data: all that decides the bytes of a page."""
        from deepsynth.pages.render.fonts import find_fonts

        return {
            "layout_version": LAYOUT_VERSION,
            "mode": self.mode,
            "page_px": self.page_px,
            "size_px": self.size_px,
            "profile": self.profile,
            "degrade": list(self.degrade),
            "seed": self.seed if self.degrade else None,
            "max_pages": self.max_pages,
            "max_characters": self.max_characters,
            "max_missing": self.max_missing,
            "versions": {name: version(name) for name in _VERSIONED},
            "fonts": {font.path.name: font.sha256 for font in find_fonts(self.font)},
        }

    def fingerprint(self) -> str:
        """Sha256 of `as_dict`."""
        return sha256_value(self.as_dict())


def parse_degrade(given: str | None) -> tuple[str, ...]:
    """`scan`, or names separated by commas, in the order the defects are applied."""
    if not given:
        return ()
    names = {name.strip() for name in given.split(",") if name.strip()}
    if "scan" in names:
        names = (names - {"scan"}) | set(DEGRADATIONS)
    unknown = tuple(sorted(names - set(DEGRADATIONS)))
    return tuple(name for name in DEGRADATIONS if name in names) + unknown
