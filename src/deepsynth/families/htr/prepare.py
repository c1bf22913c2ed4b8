"""Step `prepare`: share the pages out, and compile their lines for training.

Writes `data/`: one Arrow file a split (for segmentation the lists of pages alone) and
`manifest.json`.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from deepsynth.families.htr.ground_truth.alphabet import normalize
from deepsynth.families.htr.ground_truth.model import NotGroundTruth
from deepsynth.families.htr.ground_truth.pages import read_page, scan_folder
from deepsynth.families.htr.ground_truth.splits import (
    SplitName,
    fold_pages,
    read_lists,
    split_pages,
)
from deepsynth.families.htr.job import HtrJob
from deepsynth.families.htr.kraken.model_file import read_model
from deepsynth.families.htr.kraken.plain import write_lists
from deepsynth.families.htr.lines.compile import compile_split, read_lines
from deepsynth.families.htr.prepared import (
    Manifest,
    Part,
    base_model,
    ground_truth_folder,
    htr_job,
)
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run


def usable_pages(folder: Path) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """The pages of a ground truth folder.

    Returns:
        Names of the XML files that have lines, groups of names that share one image (by content),
        and the files left out with the reason.
    """
    names: list[str] = []
    groups: dict[str, str] = {}
    skipped: dict[str, str] = {}
    by_image: dict[str, str] = {}
    for path in scan_folder(folder).documents:
        name = path.relative_to(folder).as_posix()
        try:
            page = read_page(path)
            image = page.image
        except NotGroundTruth as problem:
            skipped[name] = problem.what
            continue
        if not any(line.text.strip() for line in page.lines):
            skipped[name] = "no transcribed line"
            continue
        names.append(name)
        if image.is_file():
            digest = hashlib.sha256(image.read_bytes()).hexdigest()
            groups[name] = by_image.setdefault(digest, name)
    shared = Counter(groups.values())
    return names, {n: group for n, group in groups.items() if shared[group] > 1}, skipped


def share_out(job: HtrJob, names: list[str], groups: Mapping[str, str]) -> dict[str, list[str]]:
    """Pages of each split, or of each fold."""
    split = job.split
    if split.is_listed:
        lists: dict[SplitName, Path | None] = {
            "train": _path(split.train_list),
            "validation": _path(split.validation_list),
            "test": _path(split.test_list),
        }
        return {**read_lists(names, lists)}
    if split.folds:
        folds = fold_pages(names, split.folds, seed=job.seed, groups=groups)
        return {f"fold-{index}": pages for index, pages in enumerate(folds)}
    return {
        **split_pages(
            names,
            validation=split.validation,
            test=split.test,
            seed=job.seed,
            by=split.by,
            groups=groups,
        )
    }


def main(run: Run) -> None:
    """Write `data/` of a run."""
    job = htr_job(run)
    source = ground_truth_folder(run, "prepare")
    names, groups, skipped = usable_pages(source)
    shares = {name: pages for name, pages in share_out(job, names, groups).items() if pages}
    folder = run.path / "data"
    folder.mkdir()
    parts: dict[str, Part] = {}
    alphabet: Counter[str] = Counter()
    form = str(job.data.normalization)
    done = 0
    for name, pages in shares.items():
        if job.task == "segmentation":
            parts[name] = Part(name, pages)
            continue
        output = folder / f"{name}.arrow"
        before = done
        report = compile_split(
            [source / page for page in pages],
            output,
            root=source,
            colour=_channels(run, job) == 3,
            allow_lost=job.data.allow_lost,
            workers=os.cpu_count() or 1,
            progress=lambda count, _, before=before: run.progress(
                "prepare", before + count, len(names), "pages"
            ),
        )
        done += len(pages)
        parts[name] = Part(name, pages, output.name, report.as_dict())
        for line in read_lines(output):
            alphabet.update(normalize(line.text, form))
    manifest = Manifest(
        task=job.task,
        normalization=form,
        parts=parts,
        folds=job.split.folds,
        skipped=skipped,
        alphabet=dict(alphabet.most_common()),
    )
    manifest.write(folder)
    if job.kraken.version:
        write_lists(folder, manifest)


def _channels(run: Run, job: HtrJob) -> int:
    base = base_model(run, "prepare")
    if base:
        return read_model(base, job.task).input_shape[2]
    spec = job.train.spec or ""
    return 3 if spec.strip("[ ").split(" ")[0].endswith(",3") else 1


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


if __name__ == "__main__":
    step_process(main)
