"""Repair: a corrected copy of a ground truth folder, and a report of every change.

The originals are never touched. What is mended: image names, units, reversed baselines, points
off the page, repeated ids, normal form, white space, control characters, and lines without text.
What nobody can mend from the file alone (missing baselines, unreadable images) is left as it is
and listed by the check of the copy.
"""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.errors import DataError, RequestError
from deepsynth.families.htr.ground_truth import alto, geometry, pagexml
from deepsynth.families.htr.ground_truth.alphabet import normalize
from deepsynth.families.htr.ground_truth.images import find_image, inspect_image
from deepsynth.families.htr.ground_truth.line_checks import JOINERS
from deepsynth.families.htr.ground_truth.model import NotGroundTruth, Page, Point, number
from deepsynth.families.htr.ground_truth.pages import parse_xml, read_page, scan_folder

REPORT = "repair.jsonl"


@dataclass(frozen=True, slots=True)
class Change:
    """One change: in which file and line, what was done, and the text before and after."""

    file: str
    line: str
    what: str
    before: str = ""
    after: str = ""


@dataclass(slots=True)
class RepairReport:
    """What a repair did.

    Attributes:
        changes: Every change, in the order of files and lines.
        left_out: Files not copied, with the reason.
        copied: Files copied, changed or not.
    """

    changes: list[Change] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    copied: int = 0

    def counts(self) -> Counter[str]:
        """How often each kind of change was made."""
        return Counter(change.what for change in self.changes)


def repair(
    source: Path,
    target: Path,
    *,
    form: str = "NFC",
    drop_unusable: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> RepairReport:
    """Write a corrected copy of `source` to `target`, with `repair.jsonl` in it.

    Args:
        source: A ground truth folder.
        target: A folder that does not exist yet, or is empty.
        form: Unicode normal form to write.
        drop_unusable: Also remove transcribed lines that Kraken would lose silently (no baseline
            or polygon, or a baseline under 5 px).
        progress: Called with files done and files in all.

    Raises:
        RequestError: `target` has something in it, or lies inside `source`.
        DataError: `source` is not a folder with XML files.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RequestError(
            "the folder for the copy is not empty", where=target, hint="Name a new one."
        )
    if target.resolve().is_relative_to(source.resolve()):
        raise RequestError(
            "the copy would lie inside the original", where=target, hint="Name another folder."
        )
    found = scan_folder(source)
    report = RepairReport()
    for done, path in enumerate(found.documents, start=1):
        name = path.relative_to(source).as_posix()
        try:
            _repair_file(path, target / name, name, form, drop_unusable, report)
        except NotGroundTruth as problem:
            report.left_out[name] = problem.what
        progress(done, len(found.documents))
    for path in found.images:
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
        report.copied += 1
    for path in found.hidden:
        report.left_out[path.relative_to(source).as_posix()] = "hidden file"
    if not report.copied:
        raise DataError("nothing in the folder could be copied", where=source)
    lines = [asdict(change) for change in report.changes]
    durable.write_text(
        target / REPORT, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    )
    return report


def _repair_file(
    path: Path, copy: Path, name: str, form: str, drop_unusable: bool, report: RepairReport
) -> None:
    page = read_page(path)
    root = parse_xml(path)
    changes: list[Change] = []

    def note(line: str, what: str, before: object = "", after: object = "") -> None:
        changes.append(Change(name, line, what, str(before), str(after)))

    image = _mend_image_name(page, root, note)
    size = _size_of(image)
    if page.unit != "pixel" and size and page.width:
        _mend_unit(page, root, size[0] / page.width, note)
    elements = list(root.iterfind(".//{*}TextLine"))
    _mend_ids(elements, note)
    for element in elements:
        _mend_line(element, page.format, form, size or (page.width, page.height), note)
    _drop_lines(elements, page.format, drop_unusable, note)
    copy.parent.mkdir(parents=True, exist_ok=True)
    if changes:
        with durable.appearing(copy) as draft:
            root.getroottree().write(os.fspath(draft), encoding="UTF-8", xml_declaration=True)
    else:
        shutil.copy2(path, copy)
    report.changes += changes
    report.copied += 1


def _mend_image_name(page: Page, root: Any, note: Callable[..., None]) -> Path | None:
    try:
        image = page.image
        if image.name in {entry.name for entry in image.parent.iterdir()}:
            return image
    except (NotGroundTruth, FileNotFoundError):
        pass
    found = find_image(page)
    if found is None:
        return None
    if page.format == "page":
        root.find(".//{*}Page").set("imageFilename", found.name)
    else:
        _alto_file_name(root).text = found.name
    note("", "image name", page.image_name, found.name)
    return found


def _alto_file_name(root: Any) -> Any:
    """The `fileName` element, made where ALTO wants it when there is none."""
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    space = root.tag[: root.tag.index("}") + 1] if root.tag.startswith("{") else ""
    name = root.find(".//{*}fileName")
    if name is not None:
        return name
    description = root.find("{*}Description")
    if description is None:
        description = etree.Element(f"{space}Description")
        root.insert(0, description)
    information = description.find("{*}sourceImageInformation")
    if information is None:
        unit = description.find("{*}MeasurementUnit")
        information = etree.Element(f"{space}sourceImageInformation")
        description.insert(0 if unit is None else 1, information)
    name = etree.Element(f"{space}fileName")
    information.insert(0, name)
    return name


def _size_of(image: Path | None) -> tuple[int, int] | None:
    if image is None:
        return None
    try:
        return inspect_image(image, image.read_bytes()).size
    except (NotGroundTruth, OSError):
        return None


def _mend_unit(page: Page, root: Any, scale: float, note: Callable[..., None]) -> None:
    """Scale every coordinate of an ALTO file to pixels of its image."""
    for element in root.iter("{*}*"):
        for name in ("HPOS", "VPOS", "WIDTH", "HEIGHT"):
            value = element.get(name)
            if value:
                element.set(name, str(round(number(value) * scale)))
        for name in ("BASELINE", "POINTS"):
            value = element.get(name)
            if value:
                scaled = [(x * scale, y * scale) for x, y in alto.points(value)]
                element.set(name, " ".join(f"{round(x)} {round(y)}" for x, y in scaled))
    root.find(".//{*}MeasurementUnit").text = "pixel"
    note("", "unit", page.unit, f"pixel, all coordinates times {scale:.4f}")


def _mend_ids(elements: list[Any], note: Callable[..., None]) -> None:
    seen: set[str] = set()
    for element in elements:
        key = "ID" if element.get("ID") is not None else "id"
        name = element.get(key)
        if name is None:
            continue
        fresh, number = name, 2
        while fresh in seen:
            fresh, number = f"{name}_{number}", number + 1
        seen.add(fresh)
        if fresh != name:
            element.set(key, fresh)
            note(name, "repeated id", name, fresh)


def _mend_line(
    element: Any, kind: str, form: str, size: tuple[int, int], note: Callable[..., None]
) -> None:
    name = element.get("ID") or element.get("id") or ""
    for first, last, get, put in _texts(element, kind):
        before = get()
        after, what = before, []
        for label, mend in (
            ("normal form", lambda text: normalize(text, form, collapse_spaces=False)),
            ("control characters", _without_controls),
            ("white space", lambda text, f=first, la=last: _plain_spaces(text, f, la)),
        ):
            mended = mend(after)
            if mended != after:
                what.append(label)
            after = mended
        if after != before:
            put(after)
            note(name, ", ".join(what), before, after)
    for points, put, is_baseline in _shapes(element, kind):
        mended = points
        if is_baseline and len(points) > 1 and geometry.is_reversed(points):
            mended = tuple(reversed(points))
            put(mended)
            note(name, "baseline reversed", points, mended)
        if mended and size[0] and geometry.outside(mended, *size):
            clipped = tuple(
                (min(max(x, 0), size[0] - 1), min(max(y, 0), size[1] - 1)) for x, y in mended
            )
            put(clipped)
            what = "baseline" if is_baseline else "polygon"
            note(name, f"{what} cut to the page", mended, clipped)


def _texts(
    element: Any, kind: str
) -> Iterator[tuple[bool, bool, Callable[[], str], Callable[[str], None]]]:
    """Each piece of a line's text: whether it is the first and the last, how to get and put it."""
    if kind == "alto":
        strings = element.findall(".//{*}String")
        for index, part in enumerate(strings):
            yield (
                index == 0,
                index == len(strings) - 1,
                lambda part=part: part.get("CONTENT") or "",
                lambda text, part=part: part.set("CONTENT", text),
            )
        return
    for part in element.iterfind("{*}TextEquiv/{*}Unicode"):
        yield (
            True,
            True,
            lambda part=part: part.text or "",
            lambda text, part=part: setattr(part, "text", text),
        )


def _shapes(
    element: Any, kind: str
) -> Iterator[tuple[tuple[Point, ...], Callable[[tuple[Point, ...]], None], bool]]:
    """Baseline and polygon of a line: their points, how to put them, which one it is."""
    if kind == "alto":
        join = " ".join

        def write(target: Any, name: str, points: tuple[Point, ...]) -> None:
            target.set(name, join(f"{x} {y}" for x, y in points))

        if element.get("BASELINE"):
            yield (
                alto.points(element.get("BASELINE")),
                lambda points: write(element, "BASELINE", points),
                True,
            )
        polygon = element.find("{*}Shape/{*}Polygon")
        if polygon is not None:
            yield (
                alto.points(polygon.get("POINTS")),
                lambda points: write(polygon, "POINTS", points),
                False,
            )
        return
    for name, is_baseline in (("Baseline", True), ("Coords", False)):
        shape = element.find(f"{{*}}{name}")
        if shape is not None:
            yield (
                pagexml.points(shape),
                lambda points, shape=shape: shape.set(
                    "points", " ".join(f"{x},{y}" for x, y in points)
                ),
                is_baseline,
            )


def _drop_lines(
    elements: list[Any], kind: str, drop_unusable: bool, note: Callable[..., None]
) -> None:
    for element in elements:
        name = element.get("ID") or element.get("id") or ""
        text = "".join(get() for _, _, get, _ in _texts(element, kind))
        shapes = {is_baseline: points for points, _, is_baseline in _shapes(element, kind)}
        baseline, polygon = shapes.get(True, ()), shapes.get(False, ())
        unusable = (
            len(baseline) < 2
            or geometry.length(baseline) < geometry.MIN_BASELINE_PX
            or len(polygon) < 3
        )
        if not text.strip():
            note(name, "line without text removed")
        elif drop_unusable and unusable:
            note(name, "unusable line removed", text)
        else:
            continue
        element.getparent().remove(element)


def _without_controls(text: str) -> str:
    return "".join(
        c
        for c in text
        if c.isspace() or c in JOINERS or unicodedata.category(c) not in ("Cc", "Cf")
    )


def _plain_spaces(text: str, first: bool, last: bool) -> str:
    text = "".join(" " if c.isspace() else c for c in text)
    while "  " in text:
        text = text.replace("  ", " ")
    text = text.lstrip() if first else text
    return text.rstrip() if last else text
