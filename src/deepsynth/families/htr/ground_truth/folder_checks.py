"""The check of a whole ground truth folder, in seconds and without Kraken."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deepsynth import processors
from deepsynth.checks import Finding, Severity, worst
from deepsynth.errors import DataError
from deepsynth.families.htr.ground_truth import alphabet as characters
from deepsynth.families.htr.ground_truth.model import Page
from deepsynth.families.htr.ground_truth.page_checks import PageCheck, check_file
from deepsynth.families.htr.ground_truth.pages import scan_folder
from deepsynth.families.htr.ground_truth.splits import MIN_PAGES, few_pages

WHOLE = "data.ground_truth"
"""Where a finding about the whole folder is; the folder itself lies elsewhere on each machine."""

Shares = Mapping[str, Sequence[str]]
"""Names of the pages of each split, or of each fold."""

REFUSED = "split"
"""Code of the finding that the pages cannot be shared out as the job wants."""

RARE = 5
"""A character seen fewer times than this is reported as rare."""


@dataclass(slots=True)
class GroundTruthCheck:
    """What a ground truth folder holds, and everything that was found in it.

    Attributes:
        folder: The folder checked.
        pages: The pages that could be read.
        lines: Lines on them.
        characters: Characters in the lines.
        alphabet: How often each character occurs.
        findings: Worst first, then by code and place; places are relative to the folder, so that
            the same ground truth gives the same findings on every machine.
        usable: Pages with a transcribed line and a named image, by the name of their file below
            the folder.
        groups: Pages among them that show the same image: the name of the first for each.
        skipped: The other files, with the reason.
        shares: The split of the usable pages that `share_out` made; none if it refused.
    """

    folder: Path
    pages: list[Page] = field(default_factory=list)
    lines: int = 0
    characters: int = 0
    alphabet: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    usable: dict[str, Page] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    shares: Shares = field(default_factory=dict)

    @property
    def worst(self) -> Severity:
        """The highest severity found."""
        return worst(self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Counts, alphabet and findings as plain data."""
        return {
            "pages": len(self.pages),
            "lines": self.lines,
            "characters": self.characters,
            "alphabet": dict(self.alphabet.most_common()),
            "findings": [finding.as_dict() for finding in self.findings],
        }


def check_ground_truth(
    folder: Path,
    *,
    share_out: Callable[[Sequence[str], Mapping[str, str]], Shares] | None = None,
    codec: Iterable[str] | None = None,
    normalization: str | None = "NFC",
    rare: int = RARE,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> GroundTruthCheck:
    """Check every file, image and line under `folder`.

    Args:
        folder: Ground truth: ALTO or PAGE files with their images.
        share_out: Makes the splits of the names of usable pages, given the groups that have to
            stay together. Its refusal is the last of the error findings: what is wrong with the
            data may be why too little is left to share out.
        codec: Characters a base model can write, to name those it lacks.
        normalization: Unicode normal form training will use.
        rare: Report characters seen fewer times than this.
        workers: Threads that decode images; as many as there are cores for us when None.
        progress: Called with files done and files in all.

    Raises:
        DataError: No such folder, or no XML file in it.
    """
    found = scan_folder(folder)
    result = GroundTruthCheck(folder)
    checks: list[PageCheck] = []
    with ThreadPoolExecutor(workers or processors.available()) as pool:
        for check in pool.map(check_file, found.documents):
            checks.append(check)
            progress(len(checks), len(found.documents))
    for check in checks:
        result.findings.extend(_within(folder, finding) for finding in check.findings)
        if check.page:
            result.pages.append(check.page)
            result.lines += len(check.page.lines)
            result.alphabet.update(check.characters)
    result.characters = sum(result.alphabet.values())
    _find_usable(result, checks)
    refused: list[Finding] = []
    if share_out and result.usable:
        try:
            result.shares = share_out(list(result.usable), result.groups)
        except DataError as error:
            refused = [
                Finding(Severity.ERROR, REFUSED, str(error.where), error.what, error.hint or "")
            ]
    result.findings.extend(_folder_findings(result, found.hidden, found.images, checks))
    if len(result.usable) < MIN_PAGES and not refused:
        result.findings.append(_few_pages(len(result.usable)))
    result.findings.extend(_duplicates(folder, checks, result.shares))
    result.findings.extend(_character_findings(result, codec, normalization, rare))
    result.findings.sort(key=lambda finding: (-finding.severity, finding.code, finding.where))
    errors = sum(finding.severity is Severity.ERROR for finding in result.findings)
    result.findings[errors:errors] = refused
    return result


def _find_usable(result: GroundTruthCheck, checks: list[PageCheck]) -> None:
    by_image: dict[str, list[str]] = {}
    for check in checks:
        name = check.path.relative_to(result.folder).as_posix()
        if check.unusable:
            result.skipped[name] = check.unusable
        elif check.page:
            result.usable[name] = check.page
            if check.digest:
                by_image.setdefault(check.digest, []).append(name)
    for same in by_image.values():
        result.groups |= dict.fromkeys(same, same[0]) if len(same) > 1 else {}


def _few_pages(count: int) -> Finding:
    refusal = few_pages(count)
    return Finding(Severity.WARNING, "few-pages", WHOLE, refusal.what, refusal.hint or "")


def _within(folder: Path, finding: Finding) -> Finding:
    return replace(finding, where=finding.where.removeprefix(f"{folder}{os.sep}"))


def _folder_findings(
    result: GroundTruthCheck,
    hidden: tuple[Path, ...],
    images: tuple[Path, ...],
    checks: list[PageCheck],
) -> Iterable[Finding]:
    where = WHOLE
    yield Finding(
        Severity.INFO,
        "size",
        where,
        f"{len(result.pages)} pages, {result.lines} lines, {result.characters} characters",
    )
    if not any(line.text.strip() for page in result.pages for line in page.lines):
        yield Finding(
            Severity.ERROR,
            "no-lines",
            where,
            "no page has a transcribed line",
            "Transcribe some pages first; a recognition model needs a few hundred lines.",
        )
    if hidden:
        yield Finding(
            Severity.WARNING,
            "hidden-files",
            where,
            f"{len(hidden)} hidden files, which copies from a Mac leave behind; they are ignored",
            "Remove them before you share the folder.",
            tuple(path.name for path in hidden[:5]),
        )
    used = {check.image for check in checks if check.image}
    unused = [path for path in images if path not in used]
    if unused:
        yield Finding(
            Severity.INFO,
            "image-unused",
            where,
            f"{len(unused)} images belong to no XML file",
            "",
            tuple(path.name for path in unused[:5]),
        )


def _duplicates(folder: Path, checks: list[PageCheck], shares: Shares) -> Iterable[Finding]:
    splits = {name: split for split, pages in shares.items() for name in pages}
    by_digest: dict[str, list[PageCheck]] = {}
    for check in checks:
        if check.digest:
            by_digest.setdefault(check.digest, []).append(check)
    for same in by_digest.values():
        if len(same) < 2:
            continue
        names = [check.path.relative_to(folder).as_posix() for check in same]
        within = {splits[name] for name in names if name in splits}
        crossed = len(within) > 1
        yield Finding(
            Severity.ERROR if crossed else Severity.WARNING,
            "page-duplicate",
            names[0],
            f"the same image serves {len(same)} files"
            + (
                f", in the splits {', '.join(sorted(within))}: the score would not be true"
                if crossed
                else ""
            ),
            "Keep one of the files, or keep them in one split.",
            tuple(names[:5]),
        )


def _character_findings(
    result: GroundTruthCheck, codec: Iterable[str] | None, form: str | None, rare: int
) -> Iterable[Finding]:
    where = WHOLE
    texts = (
        (f"{page.path.name} {line.id}", line.text) for page in result.pages for line in page.lines
    )
    yield from filter(
        None,
        (
            characters.alphabet_finding(where, result.alphabet),
            characters.normal_form_finding(where, texts),
            characters.rare_finding(where, result.alphabet, rare),
            characters.lacking_finding(where, result.alphabet, codec, form) if codec else None,
        ),
    )
