"""What a page looks like: the settings that, with the text, decide every byte of it.

They are written once, here: `generate` and `preview` take them as flags, a job that draws texts as
its `pages:`, and the reference lists them.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from deepsynth.checks import Finding, Severity
from deepsynth.durable import sha256_value
from deepsynth.job.job import LocalPath
from deepsynth.job.settings import Section
from deepsynth.pages.render.modes import MODES, Mode, ModeName

LAYOUT_VERSION = 1
"""Raised whenever the same text and settings would give another page."""
PROFILES = {"standard": 8, "small": 4}
"""Bits of grey per pixel: all 256 greys, or 16 in a file about a fifth smaller."""
DEGRADATIONS = ("skew", "blur", "noise", "paper", "bleed")
SMALL_PX = 10
"""Type below this is drawn, with a warning."""
_VERSIONED = ("uharfbuzz", "isal", "numpy", "pyvips", "pyvips-binary", "pyarrow", "pillow")


class PageSettings(Section):
    """How text becomes pages."""

    mode: ModeName = Field(
        "base", description="Page size, as DeepSeek-OCR names it; base is 1024 pixels square."
    )
    size_px: int = Field(
        16, ge=8, le=64, description="Height of the type in pixels, 8 to 64; 10 reads well."
    )
    profile: Literal["standard", "small"] = Field(
        "standard", description="standard: 256 greys; small: 16, in about a fifth fewer bytes."
    )
    degrade: str | None = Field(
        None,
        description="Defects of scanned paper: scan, or a list of skew,blur,noise,paper,bleed.",
    )
    seed: int = Field(0, ge=0, description="Of the defects; clean pages do not depend on it.")
    font: Annotated[str | None, LocalPath()] = Field(
        None, description="A font file for the text instead of DejaVu Sans."
    )
    max_pages: int = Field(64, ge=1, description="A document is cut after so many pages.")
    max_characters: int = Field(1_000_000, ge=1, description="A longer document is left out.")
    max_missing: float = Field(
        0.02, ge=0, le=1, description="Share of its characters that may be in no font."
    )

    @field_validator("degrade")
    @classmethod
    def _known(cls, given: str | None) -> str | None:
        unknown = _names(given) - {"scan", *DEGRADATIONS}
        if unknown:
            raise ValueError(f"should be scan, or of {', '.join(DEGRADATIONS)}")
        return given

    @property
    def defects(self) -> tuple[str, ...]:
        """Of `DEGRADATIONS`, in the order in which they are applied."""
        named = _names(self.degrade)
        return tuple(name for name in DEGRADATIONS if name in named or "scan" in named)

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

    @property
    def font_file(self) -> Path | None:
        """The font for the text, if it is not the usual one."""
        return Path(self.font) if self.font else None

    def only_drawing(self) -> PageSettings:
        """Without what a job's `pages:` says besides."""
        fields = PageSettings.model_fields
        return PageSettings.model_validate(self.model_dump(include=set(fields)))

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
            "degrade": list(self.defects),
            "seed": self.seed if self.defects else None,
            "max_pages": self.max_pages,
            "max_characters": self.max_characters,
            "max_missing": self.max_missing,
            "versions": {name: version(name) for name in _VERSIONED},
            "fonts": {font.path.name: font.sha256 for font in find_fonts(self.font_file)},
        }

    def fingerprint(self) -> str:
        """Sha256 of `as_dict`."""
        return sha256_value(self.as_dict())


PLAIN = PageSettings.model_validate({})
"""Clean pages of the usual size."""


def _names(given: str | None) -> set[str]:
    return {name.strip() for name in (given or "").split(",") if name.strip()}
