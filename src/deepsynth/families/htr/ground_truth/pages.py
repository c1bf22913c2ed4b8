"""Reading ground truth: one ALTO (2-4) or PAGE (2013-2019) file, its lines and its image.

Text and geometry are read the way Kraken reads them, so that a line means the same thing in a
check, in a compiled data set and in training. Two things are stricter: XML is parsed without
entities and without network, and lines in nested regions or with a repeated id are kept, which
Kraken drops silently.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepsynth.errors import DataError
from deepsynth.families.htr.ground_truth import alto, pagexml
from deepsynth.families.htr.ground_truth.images import IMAGE_SUFFIXES
from deepsynth.families.htr.ground_truth.model import NotGroundTruth, Page

_FORMATS = {"alto": alto, "PcGts": pagexml}
"""The reader of each format, by the name of its root element."""


def parse_xml(path: Path) -> Any:
    """The root element of an XML file, parsed without entities, DTD or network.

    Raises:
        NotGroundTruth: Empty file, not well formed, or a file that declares entities.
    """
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    content = path.read_bytes()
    if not content:
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
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        encoding = "encod" in (error.msg or "")
        raise NotGroundTruth(
            "xml-malformed",
            f"not well-formed XML: {error.msg}",
            where=f"{path}:{error.lineno or 1}",
            hint="Save the file in the encoding its first line names, or name the one it is in."
            if encoding
            else "Export the page again, or mend the file at that line.",
        ) from None
    dtd = root.getroottree().docinfo.internalDTD
    if dtd is not None and any(True for _ in dtd.iterentities()):
        raise NotGroundTruth(
            "xml-entities",
            "the file declares XML entities, which are never expanded here",
            where=path,
            hint="Remove its DOCTYPE; ground truth has no need of entities.",
        )
    return root


def read_page(path: Path) -> Page:
    """Read one ALTO or PAGE file.

    Raises:
        NotGroundTruth: The file is no XML, or XML of another kind (METS, TEI, ...).
    """
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    root = parse_xml(path)
    kind = etree.QName(root).localname
    if kind in _FORMATS:
        return _FORMATS[kind].read(path, root)
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


def count(folder: Path) -> tuple[int, int]:
    """Pages of a folder, and the lines with text on them; much faster than to read them all.

    Files that are no ground truth count for nothing; the check names them.

    Raises:
        DataError: No such folder, or no XML file in it.
    """
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    pages = lines = 0
    for path in scan_folder(folder).documents:
        try:
            root = parse_xml(path)
        except NotGroundTruth:
            continue
        reader = _FORMATS.get(etree.QName(root).localname)
        if reader:
            pages += 1
            every = root.iterfind(".//{*}TextLine")
            lines += sum(1 for line in every if reader.line_text(line).strip())
    return pages, lines
