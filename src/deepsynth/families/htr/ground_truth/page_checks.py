"""What can be wrong with one page: its file, its image and, in line_checks.py, its lines."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from deepsynth.checks import Finding, Severity
from deepsynth.families.htr.ground_truth.images import ImageFacts, find_image, inspect_image
from deepsynth.families.htr.ground_truth.line_checks import EXAMPLES, REPAIR, line_findings
from deepsynth.families.htr.ground_truth.model import NotGroundTruth, Page
from deepsynth.families.htr.ground_truth.pages import read_page


@dataclass(slots=True)
class PageCheck:
    """What one file turned out to be.

    Attributes:
        path: The XML file.
        page: The page read, or None when the file is not ground truth.
        findings: Everything found, in the order of the checks.
        image: The image, when it is there.
        digest: sha256 of the image file, to find pages given twice.
        characters: How often each character occurs in the transcriptions.
        unusable: Why nothing of the file can be trained on; empty when something can.
    """

    path: Path
    page: Page | None = None
    findings: list[Finding] = field(default_factory=list)
    image: Path | None = None
    digest: str = ""
    characters: Counter[str] = field(default_factory=Counter)
    unusable: str = ""


def check_file(path: Path) -> PageCheck:
    """Check one XML file, its image (decoded to the end) and its lines.

    One thing wrong hides no other: an image that is named wrongly or cut short is measured all the
    same.
    """
    check = PageCheck(path)
    try:
        check.page = read_page(path)
    except NotGroundTruth as problem:
        check.unusable = problem.what
        check.findings.append(_as_finding(problem))
        return check
    page = check.page
    for line in page.lines:
        check.characters.update(line.text)
    check.findings.extend(_page_findings(page))
    if not any(line.text.strip() for line in page.lines):
        check.unusable = "no transcribed line"
    size = (page.width, page.height)
    try:
        check.image = _image_of(page, check)
        if check.image:
            content = check.image.read_bytes()
            check.digest = hashlib.sha256(content).hexdigest()
            facts = inspect_image(check.image, content)
            size = facts.size
            check.findings.extend(_image_findings(page, facts))
    except NotGroundTruth as problem:
        check.findings.append(_as_finding(problem))
    check.findings.extend(line_findings(page, size))
    return check


def _image_of(page: Page, check: PageCheck) -> Path | None:
    """The image of a page, or the one it most probably means, with what is wrong about its name."""
    try:
        image = page.image
    except NotGroundTruth as problem:
        check.unusable = problem.what
        check.findings.append(_as_finding(problem))
        return find_image(page)
    if image.name in {entry.name for entry in image.parent.glob("*")} and image.is_file():
        return image
    found = find_image(page)
    check.findings.append(_name_finding(page, image, found))
    return found


def _as_finding(problem: NotGroundTruth) -> Finding:
    # a table of contents among the pages is left out; everything else loses a page
    harmless = problem.code == "xml-not-ground-truth"
    severity = Severity.WARNING if harmless else Severity.ERROR
    return Finding(severity, problem.code, str(problem.where), problem.what, problem.hint or "")


def _page_findings(page: Page) -> Iterator[Finding]:
    where = str(page.path)
    if page.unit != "pixel":
        yield Finding(
            Severity.ERROR,
            "unit-not-pixel",
            where,
            f"coordinates are in {page.unit}, not in pixels; Kraken refuses the file",
            REPAIR,
        )
    if not page.lines:
        yield Finding(
            Severity.WARNING,
            "page-no-lines",
            where,
            "the page has no lines",
            "Transcribe the page or leave its file out.",
        )
    if page.undeclared_tags:
        yield Finding(
            Severity.WARNING,
            "tag-undeclared",
            where,
            f"{len(page.undeclared_tags)} tags are used but nowhere declared",
            "Export the page again; zone and line types are lost as the file stands.",
            page.undeclared_tags[:EXAMPLES],
        )


def _name_finding(page: Page, image: Path, found: Path | None) -> Finding:
    where = str(page.path)
    if found is None:
        return Finding(
            Severity.ERROR,
            "image-missing",
            where,
            f"the image {page.image_name!r} is not beside the file",
            "Export the images with the transcriptions.",
        )
    case_only = found.name.lower() == image.name.lower()
    return Finding(
        Severity.ERROR,
        "image-name-case" if case_only else "image-name-extension",
        where,
        f"the file names {page.image_name!r}, the image beside it is {found.name!r}",
        REPAIR,
        (found.name,),
    )


def _image_findings(page: Page, facts: ImageFacts) -> Iterator[Finding]:
    where, size = str(page.path), facts.size
    if facts.damage:
        yield _as_finding(facts.damage)
    if facts.orientation != 1:
        yield Finding(
            Severity.WARNING,
            "image-rotated",
            where,
            f"the image is turned by its EXIF orientation {facts.orientation}, which Kraken "
            "before 7 and several editors ignore",
            "Save the image upright, without the EXIF orientation.",
        )
    if page.unit == "pixel" and page.width and page.height and (page.width, page.height) != size:
        yield Finding(
            Severity.ERROR,
            "image-size-mismatch",
            where,
            f"the file says {page.width} x {page.height}, the image has {size[0]} x {size[1]} "
            "pixels: the coordinates belong to another version of the image",
            "Use the image the page was transcribed on, or export again.",
        )
