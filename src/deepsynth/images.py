"""Images are opened here and nowhere else: in four formats, whatever a file's name says.

Pillow knows some fifty formats, and for a few of them it starts other programs (Ghostscript for an
EPS file called `page.png`). Documents come as PNG, JPEG, TIFF or WebP.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING
from zlib import error as ZlibError

from deepsynth.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")
"""The formats opened, by Pillow's names."""

BROKEN = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    EOFError,
    MemoryError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    ZlibError,
)
"""What Pillow raises for a file that is damaged or of another kind, while opening or decoding."""


def open_image(source: Path | IO[bytes]) -> ImageFile:
    """Open an image; its pixels are decoded when they are asked for.

    Args:
        source: A file, or a stream of its bytes.

    Raises:
        BROKEN: One of these, when the file is damaged or of another format.
    """
    from PIL import Image

    return Image.open(source, formats=FORMATS)


@contextmanager
def opened(data: bytes, where: object, hint: str = "") -> Generator[ImageFile]:
    """An image of somebody else's, to be measured or decoded in the block.

    Args:
        data: The bytes of its file.
        where: For the message.
        hint: What to do about a bad one.

    Raises:
        DataError: It is damaged, of another format, or so large that it fills the memory.
    """
    from PIL.Image import DecompressionBombError, DecompressionBombWarning

    try:
        with open_image(io.BytesIO(data)) as image:
            yield image
    except (DecompressionBombError, DecompressionBombWarning):
        raise DataError("the image is too large to be decoded.", where=where, hint=hint) from None
    except BROKEN as error:
        raise DataError(f"it is no readable image: {error}.", where=where, hint=hint) from None


def decode(data: bytes, where: object, hint: str = "") -> Image:
    """The pixels of an image; see `opened`.

    Raises:
        DataError: It cannot be decoded.
    """
    with opened(data, where, hint) as image:
        image.load()
        return image


def forget_other_formats() -> None:
    """Take every other format from Pillow, in a process where a library opens images by itself."""
    from PIL import Image

    Image.init()
    for known in (Image.OPEN, Image.MIME):
        for name in set(known) - set(FORMATS):
            del known[name]
    Image.ID[:] = [name for name in Image.ID if name in FORMATS]
