"""Step `evaluate`: read the held-out pages, or find their lines, and say how well.

Writes `metrics.json`, `evaluation/` (every line, pages, confusions, pictures of the worst lines;
or the types of lines) and `report.html`. Runs in the environment `htr`. With cross-validation,
every page is read by the model that never saw it, and the fold with the best validation score
becomes `model/`.

Segmentation is scored by Kraken: a baseline counts as found when it lies within
`segmentation.baseline_tolerance` pixels of the true one; regions by intersection over union of
their pixels.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepsynth import durable
from deepsynth.errors import DataError
from deepsynth.evaluation.tables import write_table
from deepsynth.families.htr import scores
from deepsynth.families.htr.ground_truth.model import Page
from deepsynth.families.htr.job import HtrJob
from deepsynth.families.htr.kraken.model_file import read_model
from deepsynth.families.htr.kraken.recognise import (
    load_recogniser,
    read_compiled,
    reading_device,
    set_threads,
)
from deepsynth.families.htr.lines.compile import CompiledLine, read_lines
from deepsynth.families.htr.prepared import (
    Manifest,
    base_model,
    best_model,
    ground_truth_folder,
    htr_job,
    read_manifest,
)
from deepsynth.families.htr.reading import read_reading
from deepsynth.families.htr.report import write_report, write_segmentation_report
from deepsynth.families.htr.scores import ScoredLine
from deepsynth.printing import say
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run


def main(run: Run) -> None:
    """Score the model of a run on the pages held back from it."""
    set_threads(htr_job(run).train.threads)
    if htr_job(run).task == "segmentation":
        _evaluate_segmentation(run)
    else:
        _evaluate_recognition(run)


def _evaluate_segmentation(run: Run) -> None:
    from deepsynth.families.htr.kraken.segmentation import score, wrap_pages
    from deepsynth.families.htr.kraken.training import quieten

    quieten()
    job, manifest = htr_job(run), read_manifest(run)
    on = "test" if "test" in manifest.parts else "validation"
    names = manifest.parts[on].pages
    reading = read_reading(run, ground_truth_folder(run, "evaluate"))
    only = job.segmentation
    held_out = [reading.pages[name] for name in names]
    pages = wrap_pages(held_out, only.line_classes, only.region_classes)
    final: dict[str, Any] = {
        "task": "segmentation",
        "measured_on": on,
        "pages": len(names),
        "baseline_tolerance_px": only.baseline_tolerance,
        **score(
            best_model(run.path / "model"),
            pages,
            only.baseline_tolerance,
            reading_device(job.train.device),
        ),
        "training": durable.read_json(run.path / "training" / "summary.json"),
    }
    base = base_model(run, "evaluate") if job.evaluation.compare_base else None
    if base:
        final["base"] = _score_base(base, job, held_out)
    folder = run.path / "evaluation"
    folder.mkdir()
    durable.write_json(folder / "classes.json", final["line_types"])
    durable.write_json(run.path / "metrics.json", final)
    write_segmentation_report(run, final)


def _score_base(base: Path, job: HtrJob, held_out: Sequence[Page]) -> dict[str, Any] | None:
    """How well the base model finds the same lines, whatever it calls them; None if it cannot.

    The pages' types are put into those of the base model, so that only the places count.
    """
    from deepsynth.families.htr.kraken.segmentation import score, wrap_pages

    known = sorted(read_model(base, "segmentation").line_types)
    if not known:
        return None
    kinds = {line.tags[0] if line.tags else "default" for page in held_out for line in page.lines}
    kept = kinds if job.segmentation.line_classes is None else {*job.segmentation.line_classes}
    named = {kind: kind if kind in known else known[0] for kind in kinds & kept}
    device = reading_device(job.train.device)
    try:
        pages = wrap_pages(held_out, named, {})
        return score(base, pages, job.segmentation.baseline_tolerance, device)
    except (DataError, ValueError, RuntimeError) as error:
        say(f"The base model cannot be scored on these pages: {error}")
        return None


def _evaluate_recognition(run: Run) -> None:
    job, manifest = htr_job(run), read_manifest(run)
    models = (
        [run.path / "folds" / str(index) for index in range(manifest.folds)]
        if manifest.folds
        else [run.path / "model"]
    )
    base = base_model(run, "evaluate") if job.evaluation.compare_base else None
    on = "test" if manifest.roles()["test"] else "validation"
    lines: list[ScoredLine] = []
    base_lines: list[ScoredLine] = []
    pictures: list[Any] = []
    for index, folder in enumerate(models):
        weights = best_model(folder)
        for part in manifest.roles(index)[on]:
            arrow = run.path / "data" / part.arrow
            rows = read_lines(arrow)
            lines += _read(run, job, manifest, weights, arrow, rows)
            if base:
                base_lines += _read(run, job, manifest, base, arrow, rows)
            pictures += _pictures(arrow)
    final = _final(run, job, manifest, on, lines, base_lines)
    folder = run.path / "evaluation"
    folder.mkdir()
    worst = worst_lines(lines, job.evaluation.worst_lines)
    _write_tables(folder, lines, base_lines)
    for number, index in enumerate(worst):
        (folder / f"worst-{number:02d}.png").write_bytes(pictures[index])
    if manifest.folds:
        _keep_best_fold(run, models)
    durable.write_json(run.path / "metrics.json", final)
    write_report(run, final, manifest, lines, worst, base_lines)


def worst_lines(lines: list[ScoredLine], most: int) -> list[int]:
    """Where the lines with the highest CER are, wrong ones only; longer ones first among equals."""
    wrong = [index for index, line in enumerate(lines) if line.errors]
    return sorted(wrong, key=lambda index: (-lines[index].cer, -lines[index].characters))[:most]


def _read(
    run: Run,
    job: HtrJob,
    manifest: Manifest,
    weights: Path,
    arrow: Path,
    rows: list[CompiledLine],
) -> list[ScoredLine]:
    read = read_compiled(
        load_recogniser(weights),
        arrow,
        pad=job.train.pad,
        device=reading_device(job.train.device),
        progress=lambda done, total: run.progress("evaluate", done, total, "lines", weights.name),
    )
    form = manifest.normalization
    return [
        scores.score_line(
            row.page, row.line, scores.comparable(row.text, form), scores.comparable(text, form)
        )
        for row, text in zip(rows, read, strict=True)
    ]


def _final(
    run: Run,
    job: HtrJob,
    manifest: Manifest,
    on: str,
    lines: list[ScoredLine],
    base_lines: list[ScoredLine],
) -> dict[str, Any]:
    found = scores.figures(
        lines, base_lines or None, samples=job.evaluation.bootstrap_samples, seed=job.seed
    )
    summaries = sorted(
        [*run.path.glob("training/summary.json"), *run.path.glob("folds/*/summary.json")]
    )
    return {
        "task": "recognition",
        "measured_on": "cross-validation" if manifest.folds else on,
        **found,
        "variants": scores.variant_rates(lines),
        "pages": len({line.page for line in lines}),
        "lines": len(lines),
        "characters": sum(line.characters for line in lines),
        "words": sum(line.words for line in lines),
        "perfect_lines": sum(not line.errors for line in lines),
        "normalization": "NFC, white space collapsed"
        + (f", after {manifest.normalization}" if manifest.normalization != "NFC" else ""),
        "training": [durable.read_json(path) for path in summaries],
    }


def _pictures(arrow: Path) -> list[Any]:
    """The picture of each line; memory-mapped, so only the ones used are read."""
    import pyarrow as pa

    table = pa.ipc.open_file(pa.memory_map(str(arrow), "rb")).read_all().column("lines")
    return [row["im"].as_buffer() for row in table]


def _write_tables(folder: Path, lines: list[ScoredLine], base: list[ScoredLine]) -> None:
    with (folder / "lines.jsonl").open("w", encoding="utf-8") as stream:
        for index, line in enumerate(lines):
            entry = asdict(line) | {"cer": round(line.cer, 4)}
            if base:
                entry["base_prediction"] = base[index].prediction
                entry["base_errors"] = base[index].errors
            stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
    _write_csv(folder / "pages.csv", scores.page_rates(lines))
    _write_csv(folder / "confusions.csv", scores.confusions(lines))


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    if not rows:
        path.write_text("")
        return
    write_table(path, list(rows[0]), (list(row.values()) for row in rows))


def _keep_best_fold(run: Run, models: list[Path]) -> None:
    """Copy the fold with the best validation score, chosen without its test pages."""
    best = min(
        models,
        key=lambda folder: durable.read_json(folder / "summary.json")["best_validation_cer"],
    )
    shutil.copytree(best, run.path / "model", ignore=shutil.ignore_patterns("summary.json"))


if __name__ == "__main__":
    step_process(main)
