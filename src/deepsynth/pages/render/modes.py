"""The page sizes of DeepSeek-OCR and what a page of each costs the language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from deepsynth.errors import RequestError

ModeName: TypeAlias = Literal["tiny", "small", "tile", "base", "large"]
OCR_1 = "DeepSeek-OCR"
OCR_2 = "DeepSeek-OCR-2"


@dataclass(frozen=True)
class Mode:
    """One way the vision encoder takes a page.

    Attributes:
        name: As DeepSeek-OCR names it; `tile` is the 768-pixel view of DeepSeek-OCR-2.
        page_px: Side of the square page. Anything else would be padded or stretched.
        tokens: Tokens a page takes in the decoder, by model generation. They include the row ends
            and the separator that DeepSeek-OCR adds (base: 256 + 16 + 1).
    """

    name: str
    page_px: int
    tokens: dict[str, int]

    @property
    def decoder_tokens(self) -> int:
        """Tokens of one page for the newest generation that takes this mode."""
        return self.tokens.get(OCR_2, next(iter(self.tokens.values())))


MODES = {
    mode.name: mode
    for mode in (
        Mode("tiny", 512, {OCR_1: 73}),
        Mode("small", 640, {OCR_1: 111}),
        Mode("tile", 768, {OCR_2: 145}),
        Mode("base", 1024, {OCR_1: 273, OCR_2: 257}),
        Mode("large", 1280, {OCR_1: 421}),
    )
}


def mode_named(name: str) -> Mode:
    """The mode called `name`, or a `RequestError` that lists them."""
    if name not in MODES:
        known = ", ".join(f"{mode.name} ({mode.page_px} px)" for mode in MODES.values())
        raise RequestError(f"{name!r} is not a page mode", where="mode", hint=f"Modes: {known}.")
    return MODES[name]
