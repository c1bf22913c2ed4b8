"""Ground truth pages: one ALTO (2-4) or PAGE (2013-2019) file, its lines and its image.

Text and geometry are read the way Kraken reads them, so that a line means the same thing in a
check, in a compiled data set and in training. Two things are stricter: XML is parsed without
entities and without network, and lines in nested regions or with a repeated id are kept, which
Kraken drops silently.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from deepsynth.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Point = tuple[int, int]
"""A position in pixels of the page image, from its top left corner."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

MAX_IMAGE_PIXELS = 178_956_970
"""The largest page that is decoded, in pixels: Pillow's own limit, which Kraken inherits."""


class NotGroundTruth(DataError):
    """A file that cannot be read as ground truth; `code` names the finding it becomes."""

    def __init__(self, code: str, what: str, *, where: object, hint: str) -> None:
        super().__init__(what, where=where, hint=hint)
        self.code = code


@dataclass(frozen=True, slots=True)
class Line:
    """One transcribed line.

    Attributes:
        id: The id in the file; not always unique, see the check `id-duplicate`.
        text: The transcription as written, not normalised.
        baseline: Points from the start to the end of writing; empty when the file has none.
        polygon: The outline of the line; empty when the file has none.
        tags: Labels such as `DefaultLine`.
        source_line: Line number in the XML file.
        alternatives: How many transcriptions the file holds; the first is `text`.
        unspaced: Whether an ALTO line joins several `String` elements without any `SP`.
    """

    id: str
    text: str
    baseline: tuple[Point, ...] = ()
    polygon: tuple[Point, ...] = ()
    tags: tuple[str, ...] = ()
    source_line: int = 0
    alternatives: int = 1
    unspaced: bool = False


@dataclass(frozen=True, slots=True)
class Region:
    """One zone of the page (`MainZone`, `MarginTextZone`, ...) and its outline in pixels."""

    id: str
    type: str
    polygon: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """One page of ground truth.

    Attributes:
        path: The XML file.
        format: `alto` or `page`.
        version: Version of the format as its namespace says it; empty when it does not.
        image_name: The image file's name as written; empty when there is none.
        width: Page width as written, in `unit`; 0 when absent.
        height: Page height as written, in `unit`; 0 when absent.
        unit: `pixel`, or what an ALTO file says instead (`mm10`, `inch1200`).
        lines: Lines in document order.
        regions: Regions in document order.
        undeclared_tags: Tag references that nothing in the file declares.
    """

    path: Path
    format: Literal["alto", "page"]
    version: str
    image_name: str
    width: int
    height: int
    unit: str
    lines: tuple[Line, ...]
    regions: tuple[Region, ...]
    undeclared_tags: tuple[str, ...] = ()

    @property
    def image(self) -> Path:
        """Where the image should be: beside the XML file, under the name the file gives.

        Raises:
            NotGroundTruth: The file names no image, or one outside its own folder.
        """
        if not self.image_name:
            raise NotGroundTruth(
                "image-not-named",
                "the file does not name its image",
                where=self.path,
                hint="`deepsynth repair` finds an image of the same name beside the file.",
            )
        name = PurePosixPath(self.image_name.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or "://" in self.image_name:
            raise NotGroundTruth(
                "image-outside-folder",
                f"the image is named as {self.image_name!r}, outside the file's folder",
                where=self.path,
                hint="Put the image beside the file; `deepsynth repair` then writes its name.",
            )
        return self.path.parent / name

    @property
    def name(self) -> str:
        """The page's short name: the file's name without `.xml`."""
        return self.path.stem


def parse_xml(path: Path) -> Any:
    """The root element of an XML file, parsed without entities, DTD or network.

    Raises:
        NotGroundTruth: Empty file, not well formed, or a file that declares entities.
    """
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    if path.stat().st_size == 0:
        raise NotGroundTruth(
            "xml-empty",
            "the file is empty (0 bytes)",
            where=path,
            hint="Export the page again; an interrupted copy leaves such files.",
        )
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    try:
        tree = etree.parse(os.fspath(path), parser)
    except etree.XMLSyntaxError as error:
        raise NotGroundTruth(
            "xml-malformed",
            f"not well-formed XML: {error.msg}",
            where=f"{path}:{error.lineno or 1}",
            hint="Export the page again, or mend the file at that line.",
        ) from None
    dtd = tree.docinfo.internalDTD
    if dtd is not None and any(True for _ in dtd.iterentities()):
        raise NotGroundTruth(
            "xml-entities",
            "the file declares XML entities, which are never expanded here",
            where=path,
            hint="Remove its DOCTYPE; ground truth has no need of entities.",
        )
    return tree.getroot()


def read_page(path: Path) -> Page:
    """Read one ALTO or PAGE file.

    Raises:
        NotGroundTruth: The file is no XML, or XML of another kind (METS, TEI, ...).
    """
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    from deepsynth.families.htr.ground_truth import alto, pagexml

    root = parse_xml(path)
    kind = etree.QName(root).localname
    if kind == "alto":
        return alto.read(path, root)
    if kind == "PcGts":
        return pagexml.read(path, root)
    known = {"mets": "a METS table of contents", "TEI": "a TEI text"}
    raise NotGroundTruth(
        "xml-not-ground-truth",
        f"{known.get(kind, f'an XML file of kind {kind!r}')}, not ALTO or PAGE",
        where=path,
        hint="Keep only the ALTO or PAGE files of the export in the folder.",
    )


@dataclass(frozen=True, slots=True)
class Folder:
    """What a ground truth folder holds, each list sorted by path.

    Attributes:
        documents: XML files that are not hidden.
        images: Page images.
        hidden: `.DS_Store`, `._*` and other dot files, which copies from a Mac leave behind.
    """

    documents: tuple[Path, ...]
    images: tuple[Path, ...]
    hidden: tuple[Path, ...]


def scan_folder(folder: Path) -> Folder:
    """List the XML files and images under `folder`.

    Raises:
        DataError: No such folder, or no XML file in it.
    """
    if not folder.is_dir():
        raise DataError(
            "no such folder of ground truth",
            where=folder,
            hint="Name the folder that holds the exported XML files and their images.",
        )
    documents: list[Path] = []
    images: list[Path] = []
    hidden: list[Path] = []
    for path in _walk(folder):
        if path.name.startswith("."):
            hidden.append(path)
        elif path.suffix.lower() == ".xml":
            documents.append(path)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(path)
    if not documents:
        raise DataError(
            f"no XML file in the folder ({len(images)} images)",
            where=folder,
            hint="Export the transcriptions as ALTO or PAGE beside the images.",
        )
    return Folder(tuple(documents), tuple(images), tuple(hidden))


def _walk(folder: Path) -> Iterator[Path]:
    for parent, directories, names in os.walk(folder):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in sorted(names):
            yield Path(parent, name)


def open_image(path: Path) -> Image:
    """Open a page image, turned as its EXIF orientation says, as Kraken 7 does.

    Modes other than bitonal, grey and RGB are converted to RGB (16-bit grey to 8-bit grey).

    Raises:
        NotGroundTruth: Not an image, truncated, or beyond `MAX_IMAGE_PIXELS`.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            require_decodable_size(path, opened.size)
            image = opened
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise too_large(path) from None
    except (OSError, ValueError, SyntaxError) as error:
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
    why = "it is neither PNG, JPEG nor TIFF, or damaged at its start" if unknown else str(error)
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
