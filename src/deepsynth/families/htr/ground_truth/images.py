"""Images of pages: found beside their XML file, measured, opened."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepsynth import images
from deepsynth.families.htr.ground_truth.model import NotGroundTruth, Page

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

MAX_IMAGE_PIXELS = 178_956_970
"""The largest page that is decoded, in pixels: Pillow's own limit, which Kraken inherits."""


_EXIF_ORIENTATION = 274


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image file turned out to be.

    Attributes:
        size: Width and height in pixels, as turned by EXIF.
        orientation: The EXIF orientation; 1 is upright.
        damage: Why it cannot be decoded, or None.
    """

    size: tuple[int, int]
    orientation: int = 1
    damage: NotGroundTruth | None = None


def inspect_image(path: Path, content: bytes) -> ImageFacts:
    """Measure an image and decode it to its end.

    A JPEG is decoded at an eighth of its size, which is enough to find a truncated file and takes
    a third of the time.

    Args:
        path: Where the image is, for the message.
        content: Its bytes.

    Raises:
        NotGroundTruth: Not an image.
    """
    from PIL import Image

    try:
        image = images.open_image(io.BytesIO(content))
    except Image.DecompressionBombError:
        raise too_large(path) from None
    except images.BROKEN as error:
        raise unreadable(path, error) from None
    width, height = image.size
    orientation, damage = 1, None
    with image:
        try:
            require_decodable_size(path, image.size)
            orientation = int(image.getexif().get(_EXIF_ORIENTATION, 1))
            image.draft("L", (width // 8, height // 8))
            image.load()
        except NotGroundTruth as problem:
            damage = problem
        except images.BROKEN as error:
            damage = unreadable(path, error)
    size = (height, width) if orientation in (5, 6, 7, 8) else (width, height)
    return ImageFacts(size, orientation, damage)


def find_image(page: Page) -> Path | None:
    """The image the page most probably means when the one it names is missing.

    Tried in turn: the same name but for case, then the same stem with another extension, then
    the stem of the XML file.
    """
    folder = page.path.parent
    name = Path(page.image_name.replace("\\", "/")).name
    candidates = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    for wanted in (
        lambda image: image.name.lower() == name.lower(),
        lambda image: image.stem.lower() == Path(name).stem.lower(),
        lambda image: image.stem.lower() == page.path.stem.lower(),
    ):
        for image in candidates:
            if wanted(image):
                return image
    return None


def open_image(path: Path) -> Image:
    """Open a page image, turned as its EXIF orientation says, as Kraken 7 does.

    Modes other than bitonal, grey and RGB are converted to RGB (16-bit grey to 8-bit grey).

    Raises:
        NotGroundTruth: Not an image, truncated, or beyond `MAX_IMAGE_PIXELS`.
    """
    from PIL import Image, ImageOps

    try:
        with images.open_image(path) as opened:
            require_decodable_size(path, opened.size)
            image = opened
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise too_large(path) from None
    except images.BROKEN as error:
        raise unreadable(path, error) from None
    if image.mode.startswith("I;16"):
        return image.point(lambda value: value / 256).convert("L")
    return image if image.mode in ("1", "L", "RGB") else image.convert("RGB")


def require_decodable_size(path: Path, size: tuple[int, int]) -> None:
    """Refuse a page of more than `MAX_IMAGE_PIXELS`.

    Raises:
        NotGroundTruth: `image-too-large`.
    """
    if size[0] * size[1] > MAX_IMAGE_PIXELS:
        raise too_large(path, size)


def unreadable(path: Path, error: Exception) -> NotGroundTruth:
    """The finding for an image that Pillow gives up on, without the names Pillow gives it."""
    from PIL import UnidentifiedImageError

    truncated = "truncated" in str(error)
    unknown = isinstance(error, UnidentifiedImageError)
    why = (
        "it is none of PNG, JPEG, TIFF and WebP, or damaged at its start" if unknown else str(error)
    )
    return NotGroundTruth(
        "image-truncated" if truncated else "image-unreadable",
        f"the image cannot be read: {why}",
        where=path,
        hint="Copy or export the image again.",
    )


def too_large(path: Path, size: tuple[int, int] | None = None) -> NotGroundTruth:
    """The finding for a page image that nothing here decodes."""
    measured = f" of {size[0]} x {size[1]} pixels" if size else ""
    return NotGroundTruth(
        "image-too-large",
        f"the image{measured} is larger than {MAX_IMAGE_PIXELS / 1e6:.0f} million pixels",
        where=path,
        hint="Scale the scan down (300 dpi is enough) and scale the coordinates with it.",
    )
