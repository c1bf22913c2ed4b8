"""Step `prepare`: bring the pages here, choose rows, hold out what was not held out already.

Writes `data/`: `samples.json` (which rows of which shards are used, by split), the shards
themselves where they were drawn or fetched now, and findings. A dataset given as a folder is read
where it lies. A `scratch:` model is made into `base/`.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.checks import Finding, Severity
from deepsynth.checks.report import write_findings
from deepsynth.data.neardup import near_duplicate_groups
from deepsynth.data.splits import assign_splits, leaking_rows
from deepsynth.errors import DataError
from deepsynth.families.summarize.job import Data, Pages, SummarizeJob
from deepsynth.families.summarize.model import scratch_folder
from deepsynth.families.summarize.prepared import INDEX
from deepsynth.families.summarize.samples import SPLITS, ShardRows, find_shards
from deepsynth.families.summarize.sources import fetched_rows, is_pages
from deepsynth.pages.render.settings import PageSettings
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run


def choose_rows(
    splits: dict[str, list[int]],
    rows: ShardRows,
    data: Data,
    seed: int,
    origin: Sequence[int] = (),
) -> tuple[dict[str, list[int]], list[Finding]]:
    """Hold out missing splits, keep leaks out of training, and cut to the numbers asked for.

    Args:
        splits: Row numbers by split, as the dataset has them.
        rows: All rows.
        data: The job's `data:`.
        seed: Decides which rows are held out and which are taken.
        origin: Number of the dataset each row is from; asked for by `data.weights`.

    Returns:
        Row numbers by split, and findings.
    """
    texts = _compared_texts(rows)
    where = [""] * len(texts)
    for split, numbers in splits.items():
        for number in numbers:
            where[number] = split
    shares = {
        split: share
        for split, share in (("validation", data.validation_share), ("test", data.test_share))
        if split not in splits and share
    }
    groups = near_duplicate_groups(texts)
    train = splits["train"]
    made = assign_splits([""] * len(train), [groups[n] for n in train], shares, seed)
    for number, split in zip(train, made, strict=True):
        where[number] = split
    leaking = leaking_rows(where, groups)
    findings: list[Finding] = []
    if leaking:
        findings.append(
            Finding(
                Severity.WARNING,
                "split-leak",
                "data",
                f"{len(leaking)} documents repeat, word for word or nearly, one that is held out "
                "more strictly; they are left out, so that the figures stay true.",
                examples=tuple(rows.where(number) for number in leaking[:5]),
            )
        )
    dropped = set(leaking)
    chosen = {
        split: [n for n, s in enumerate(where) if s == split and n not in dropped]
        for split in SPLITS
    }
    if data.weights is not None:
        chosen["train"] = _weighted(chosen["train"], data.weights, origin, seed)
    for split, limit in (("train", data.max_train_samples), ("validation", data.max_val_samples)):
        if limit is not None and limit < len(chosen[split]):
            chosen[split] = sorted(random.Random(seed).sample(chosen[split], limit))
    return chosen, findings


def _weighted(
    train: list[int], weights: list[float], origin: Sequence[int], seed: int
) -> list[int]:
    """Training rows in the shares asked for, none twice."""
    from deepsynth.data.published import interleave

    groups: list[list[int]] = [[] for _ in weights]
    for number in train:
        groups[origin[number]].append(number)
    if not all(groups):
        raise DataError(
            f"dataset number {groups.index([]) + 1} has no training row left.", where="data.weights"
        )
    for group in groups:
        random.Random(seed).shuffle(group)
    return sorted(interleave(groups, weights, seed))


def bring(data: Data, pages: PageSettings, places: list[Path | str], target: Path) -> list[Path]:
    """Folders of shards for the datasets of a job, drawn or fetched into `target` if need be.

    Args:
        data: The job's `data:`.
        pages: How texts are drawn.
        places: Folder or file here, or `USER/NAME@commit`.
        target: `data/` of the run.
    """
    folders: list[Path] = []
    for number, place in enumerate(places):
        if isinstance(place, Path) and is_pages(place):
            folders.append(place)
        elif isinstance(place, Path):
            from deepsynth.pages.generate import generate

            made = generate(
                str(place),
                text=data.text,
                summary=data.summary,
                output_dir=target,
                pages=pages,
            )
            folders.append(made[0].folder)
        else:
            from deepsynth.hub.load import is_offline, load

            loaded = load(place, max_samples=fetched_rows(data) or None, offline=is_offline())
            folders.append(_linked(loaded.folder, target / f"hub-{number}"))
    return folders


def drawn_with(folders: list[Path], asked: Pages) -> tuple[dict[str, Any], list[Finding]]:
    """How the pages of the datasets were drawn, as their manifests say, and what is odd about it.

    It travels with the model: a page drawn otherwise is another language to it.

    Args:
        folders: Of the datasets.
        asked: The job's `pages:`, which counts where no manifest says anything.
    """
    manifests = [durable.read_json(folder / "manifest.json") or {} for folder in folders]
    known = [found for m in manifests if (found := (m.get("settings") or {}).get("pages"))]
    if not known:
        drawn = {"mode": asked.mode, "size_px": asked.size_px}
        what = "The data does not say how its pages were drawn: for new texts the model will get "
        what += f"pages of mode {asked.mode} with type of {asked.size_px} px, as the job says."
        fix = "Set pages.mode and pages.size_px to what the pages look like."
        return drawn, [Finding(Severity.WARNING, "pages-unknown", "pages", what, fix)]
    kinds = {f"mode {one['mode']}, type of {one['size_px']} px" for one in known}
    if len(kinds) == 1:
        return known[0], []
    what = f"The datasets are drawn in {len(kinds)} ways: {'; '.join(sorted(kinds))}. New texts "
    what += "will be drawn in the first one's."
    fix = "Generate all with the same --mode and --size-px."
    return known[0], [Finding(Severity.WARNING, "pages-mixed", "pages", what, fix)]


def main(run: Run) -> None:
    """Prepare the data of a run, and its model if that is made from scratch."""
    job = run.job(SummarizeJob)
    step = run.plan.step("prepare")
    target = run.path / "data"
    target.mkdir(exist_ok=True)
    if "data" in step.sources:
        places: list[Path | str] = [run.source(step, "data")]
    else:
        named = [str(place) for place, _ in step.settings["places"]]
        places = [Path(name) if Path(name).is_absolute() else name for name in named]
    pages = job.pages
    if pages.font:
        pages = pages.model_copy(update={"font": str(run.source(step, "font"))})
    folders = bring(job.data, pages, places, target)
    in_place = "data" in step.sources and folders == places
    if not in_place:
        folders = [
            folder if folder.is_relative_to(target) else _linked(folder, target / f"set-{number}")
            for number, folder in enumerate(folders)
        ]
    files: list[tuple[int, str]] = []
    splits: dict[str, list[int]] = {}
    origin: list[int] = []
    total = 0
    for number, folder in enumerate(folders):
        for split, shards in find_shards(folder).items():
            for path in shards:
                count = len(ShardRows([path]))
                splits.setdefault(split, []).extend(range(total, total + count))
                origin += [number] * count
                files.append((number, path.relative_to(folder).as_posix()))
                total += count
    paths = [folders[number] / name for number, name in files]
    if len(folders) > 1:
        from deepsynth.hub.features import same_columns

        same_columns(paths)
    rows = ShardRows(paths)
    chosen, findings = choose_rows(splits, rows, job.data, job.seed, origin)
    drawn, more = drawn_with(folders, job.pages)
    findings += more
    if not chosen["train"]:
        raise DataError("not one training document is left.", where="data")
    write_findings(target, findings)
    durable.write_json(
        target / INDEX,
        {
            "in_place": in_place,
            "folders": [] if in_place else [os.path.relpath(f, target) for f in folders],
            "files": files,
            "splits": chosen,
            "drawn": drawn,
        },
    )
    if job.is_scratch:
        shutil.rmtree(run.path / "base", ignore_errors=True)
        corpus = ShardRows(rows.files, chosen["train"]).column("summary")
        scratch_folder(job.model, run.path / "base", [text or "" for text in corpus], job.seed)
    run.event(
        "note",
        step="prepare",
        text=", ".join(f"{len(numbers)} {split}" for split, numbers in chosen.items()),
    )


def _compared_texts(rows: ShardRows) -> list[str]:
    """What near-duplicates are looked for in: the text, or the summary where there is none."""
    try:
        column = rows.column("text")
    except DataError:
        column = rows.column("summary")
    return [text or "" for text in column]


def _linked(source: Path, target: Path) -> Path:
    """A folder with the same files; linked, so that a fetched dataset takes its space once."""
    durable.link_or_copy(source, target)
    return target


if __name__ == "__main__":
    step_process(main)
