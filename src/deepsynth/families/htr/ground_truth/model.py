"""What ground truth is: pages, their lines and regions, and a file that is none."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from deepsynth.errors import DataError

Point = tuple[int, int]
"""A position in pixels of the page image, from its top left corner."""


EXPORTED = "page"
"""Folder of a Transkribus export that holds its XML files; the images lie beside the folder."""

_FAR = 2**31 - 1


def number(text: str | None) -> float:
    """A number as a file writes it; what is none is 0, and none is beyond 2^31."""
    try:
        value = float(text or 0)
    except ValueError:
        return 0
    return min(max(value, -_FAR), _FAR) if value == value else 0


def whole(text: str | None) -> int:
    """The same in whole pixels."""
    return int(number(text))


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

        Transkribus exports the files into a folder `page` and the images one folder up.

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
        beside = self.path.parent / name
        above = self.path.parent.parent / name
        if self.path.parent.name == EXPORTED and not os.access(beside, os.F_OK):
            return above if os.access(above, os.F_OK) else beside
        return beside

    @property
    def name(self) -> str:
        """The page's short name: the file's name without `.xml`."""
        return self.path.stem
