"""Splits by whole pages or documents: two lines of one page never end up on both sides."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from deepsynth.errors import DataError

MIN_PAGES = 10
"""With fewer pages, a test split of whole pages says next to nothing."""

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


def document_of(name: str) -> str:
    """The document a page belongs to: its folder, or its own name when it lies at the top."""
    parent = PurePosixPath(name).parent.as_posix()
    return name if parent == "." else parent


def split_pages(
    names: Sequence[str],
    *,
    validation: float,
    test: float,
    seed: int,
    by: Literal["page", "document"] = "page",
    groups: Mapping[str, str] | None = None,
) -> dict[SplitName, list[str]]:
    """Share pages out at random, whole pages (or documents) at a time.

    Args:
        names: XML files relative to the ground truth folder.
        validation: Share of the pages that choose the best epoch.
        test: Share of the pages for the final score; 0 for none.
        seed: The same names and seed give the same splits, in whatever order the names come.
        by: Keep whole documents (folders) together, for a score on unseen hands.
        groups: Pages that must stay together though their names differ (the same image twice).

    Raises:
        DataError: Too few pages or documents; the hint names two honest ways on.
    """
    if len(names) < MIN_PAGES and test:
        raise few_pages(len(names))
    units: dict[str, list[str]] = {}
    for name in sorted(names):
        unit = (groups or {}).get(name) or (document_of(name) if by == "document" else name)
        units.setdefault(unit, []).append(name)
    needed = 3 if test else 2
    if len(units) < needed:
        raise DataError(
            f"{len(units)} {by}s cannot be split into {needed} parts",
            where="split.by",
            hint="Split by page, or add documents." if by == "document" else "Add pages.",
        )
    order = list(units)
    random.Random(seed).shuffle(order)
    result: dict[SplitName, list[str]] = {split: [] for split in SPLITS}
    wishes: tuple[tuple[SplitName, float], ...] = (("test", test), ("validation", validation))
    for split, share in wishes:
        wanted = max(1, round(share * len(names))) if share else 0
        while len(result[split]) < wanted and len(order) > 1:
            result[split] += units[order.pop()]
    result["train"] = [name for unit in order for name in units[unit]]
    return {split: sorted(pages) for split, pages in result.items()}


def fold_pages(
    names: Sequence[str],
    folds: int,
    *,
    seed: int,
    groups: Mapping[str, str] | None = None,
) -> list[list[str]]:
    """Share pages out into `folds` parts of nearly the same size, each tested once.

    Raises:
        DataError: Fewer pages than folds.
    """
    units: dict[str, list[str]] = {}
    for name in sorted(names):
        units.setdefault((groups or {}).get(name, name), []).append(name)
    if len(units) < max(folds, 3):
        raise DataError(
            f"{len(units)} pages cannot make {folds} folds of at least one page",
            where="split.folds",
            hint=f"Set split.folds to {len(units)}." if len(units) >= 3 else "Add pages.",
        )
    order = list(units)
    random.Random(seed).shuffle(order)
    return [
        sorted(name for unit in order[fold::folds] for name in units[unit]) for fold in range(folds)
    ]


def read_lists(
    names: Sequence[str], lists: Mapping[SplitName, Path | None]
) -> dict[SplitName, list[str]]:
    """Splits given as text files, one XML file name a line; the rest of the pages train.

    Names are taken relative to the ground truth folder; a bare name is enough when it is unique.

    Raises:
        DataError: A file that does not exist, an unknown page, or a page in two lists.
    """
    known = set(names)
    by_stem: dict[str, list[str]] = {}
    for name in names:
        by_stem.setdefault(PurePosixPath(name).stem, []).append(name)
    owner: dict[str, SplitName] = {}
    for split, path in lists.items():
        if path is None:
            continue
        if not path.is_file():
            raise DataError(
                f"the list of the {split} split does not exist",
                where=path,
                hint="Write one XML file name a line.",
            )
        for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            entry = raw.strip()
            if not entry or entry.startswith("#"):
                continue
            found = [entry] if entry in known else by_stem.get(PurePosixPath(entry).stem, [])
            if len(found) != 1:
                raise DataError(
                    f"{entry!r} is {'not unique' if found else 'no page of the ground truth'}",
                    where=f"{path}:{number}",
                    hint="Write the path of the XML file below the ground truth folder.",
                )
            if owner.setdefault(found[0], split) != split:
                raise DataError(
                    f"{entry!r} is also in the {owner[found[0]]} split",
                    where=f"{path}:{number}",
                    hint="A page belongs to one split only.",
                )
    if lists.get("train") is None:
        for name in names:
            owner.setdefault(name, "train")
    result: dict[SplitName, list[str]] = {split: [] for split in SPLITS}
    for name in sorted(owner):
        result[owner[name]].append(name)
    for split in ("train", "validation"):
        if not result[split]:
            raise DataError(
                f"the {split} split has no page",
                where=f"split.{split}_list",
                hint="List at least one page for it.",
            )
    return result


def few_pages(count: int) -> DataError:
    """The refusal to hold a test split back from a handful of pages, with two ways on."""
    folds = f"Or `split.folds={min(5, count)}`: every page is tested once, by a model that never "
    folds += "saw it."
    return DataError(
        f"{count} {'page is' if count == 1 else 'pages are'} too few "
        f"to hold whole pages back for a test (at least {MIN_PAGES} are needed)",
        where="split",
        hint="Transcribe more pages, or set `split.test=0`: no test score, the validation score "
        f"is reported as what it is. {folds if count >= 3 else ''}".strip(),
    )
