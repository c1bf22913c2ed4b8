"""What the pages for people show."""

from __future__ import annotations

import base64
import io

from PIL import Image

from deepsynth.families.summarize.report import page_picture, shared_words
from deepsynth.families.summarize.samples import Page
from tests.support.pages import page


def test_words_shared_with_the_reference_are_marked_in_order() -> None:
    pieces = shared_words("The fox, sleeps  near a river.", "the fox sleeps by a river")
    assert pieces == [
        ("The fox, sleeps", True),
        ("  ", False),
        ("near", False),
        (" ", False),
        ("a river.", True),
    ]
    assert shared_words(" ", "fox") == []
    assert shared_words("river fox", "fox river") in (
        [("river", True), (" ", False), ("fox", False)],
        [("river", False), (" ", False), ("fox", True)],
    )


def test_what_is_blank_below_the_text_is_left_out_and_no_ink_is() -> None:
    def height(data: bytes) -> int:
        url = page_picture(Page("key", (192, 192), data))
        with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
            return picture.height

    assert height(page("two lines at the top of a page, no more")) == 64
    full = Image.new("L", (192, 192), "white")
    full.putpixel((5, 185), 0)
    stream = io.BytesIO()
    full.save(stream, format="PNG")
    assert height(stream.getvalue()) == 192
