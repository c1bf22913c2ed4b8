"""Pages and tiny models that the tests of training share."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, ImageDraw

TEXTS = [
    "the red fox sleeps under the old oak tree near the river and waits for night",
    "seven ships left the harbour at dawn carrying grain salt and news of the war",
    "prices of bread rose again in march while wages stayed where they were in may",
    "the museum opens a new hall of maps drawn by monks in the ninth century today",
]
SUMMARIES = ["fox sleeps by river", "ships leave at dawn", "bread costs more", "museum shows maps"]


def page(text: str, side: int = 192, mode: str = "L") -> bytes:
    """A square page with a few lines of text, as PNG."""
    image = Image.new(mode, (side, side), "white")
    lines = [text[start : start + 30] for start in range(0, len(text), 30)]
    ImageDraw.Draw(image).multiline_text((6, 6), "\n".join(lines), fill="black")
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def rows(count: int = 4) -> list[dict[str, Any]]:
    """Documents of one page each; the third, if there, has two."""
    found: list[dict[str, Any]] = []
    for number in range(count):
        text = TEXTS[number % 4]
        pages = [page(text)] if number != 2 else [page(text), page("and so it goes on")]
        found.append({"images": pages, "text": text, "summary": SUMMARIES[number % 4]})
    return found
