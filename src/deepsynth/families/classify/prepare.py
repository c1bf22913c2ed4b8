"""Step `prepare`: from the tables a job names to clean, split, labelled rows in `data/`.

Writes `train.parquet`, `validation.parquet`, `test.parquet` (text, label index, place, group)
and `manifest.json`, which names the columns found, the labels, the counts and what was left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from deepsynth import durable
from deepsynth.checks import Finding, Severity
from deepsynth.checks.report import write_findings
from deepsynth.data.collection import SPLITS, read_hub, read_path
from deepsynth.data.columns import (
    find_label_column,
    find_text_column,
    label_order,
    label_text,
    refuse_missing_labels,
)
from deepsynth.data.neardup import near_duplicate_groups
from deepsynth.data.splits import assign_splits, leaking_rows
from deepsynth.data.table import Table
from deepsynth.errors import DataError
from deepsynth.families.classify.job import ClassifyJob, Data
from deepsynth.hub.load import at_revision
from deepsynth.run.execution import step_process
from deepsynth.run.run import Run

MINIMUM_ROWS = 10


@dataclass
class Prepared:
    """Rows ready to learn from.

    Attributes:
        texts: Stripped texts.
        labels: Label of each row, by name.
        places: Where each row came from.
        splits: `train`, `validation` or `test` for each row.
        groups: Near-duplicate group of each row.
        label_names: All labels in the order of their indices.
        columns: Which column was taken for texts and which for labels.
        findings: What was noticed on the way.
    """

    texts: list[str]
    labels: list[str]
    places: list[str]
    splits: list[str]
    groups: list[int]
    label_names: list[str]
    columns: dict[str, str]
    findings: list[Finding] = field(default_factory=list)


def read_source(data: Data, path: Path | None) -> tuple[dict[str, Table], str | None]:
    """The tables a job names, and the commit if they are from the Hub.

    Args:
        data: The job's `data:`.
        path: Where its file or folder is on this machine; None for the Hub.
    """
    if path is not None:
        return read_path(path, data.encoding), None
    return read_hub(at_revision(cast(str, data.hub), data.revision), data.config)


def prepare(tables: dict[str, Table], job: ClassifyJob) -> Prepared:
    """Find the columns, drop unusable rows, and split what is not split, without leaks.

    Raises:
        DataError: The data cannot be learned from: no columns, too few rows, a single label.
    """
    train = tables["train"]
    text = find_text_column(train, job.data.text)
    label = find_label_column(train, job.data.label, text)
    prepared = Prepared([], [], [], [], [], [], {"text": text, "label": label})
    names = train.label_names.get(label)
    for split in SPLITS:
        if split in tables:
            _add_rows(prepared, tables[split], split, text, label, names)
    if len(prepared.texts) < MINIMUM_ROWS:
        raise DataError(
            f"{len(prepared.texts)} usable rows are too few to train, choose and test a model.",
            where=train.name,
            hint=f"At least {MINIMUM_ROWS} labelled texts are needed; some hundred are sensible.",
        )
    in_train = [
        name for name, s in zip(prepared.labels, prepared.splits, strict=True) if s == "train"
    ]
    if len(set(in_train)) < 2:
        raise DataError(
            f"every row has the same label, {in_train[0] if in_train else None!r}.",
            where=f"{train.name}, column {label}",
            hint="A classifier needs at least two labels; is this the right column? data.label",
        )
    _drop_unknown_labels(prepared, set(in_train), names)
    prepared.label_names = label_order(in_train, names)
    prepared.groups = near_duplicate_groups(prepared.texts)
    _drop_leaks(prepared)
    _make_splits(prepared, tables, job)
    return prepared


def _add_rows(
    prepared: Prepared, table: Table, split: str, text: str, label: str, names: list[str] | None
) -> None:
    for column in (text, label):
        if column not in table.columns:
            raise DataError(
                f"the {split} split has no column {column!r}.",
                where=table.name,
                hint=f"Columns there: {', '.join(table.columns)}.",
            )
    values = zip(table.columns[text], table.columns[label], table.places, strict=True)
    empty: list[str] = []
    unlabelled: list[str] = []
    for value, raw_label, place in values:
        content = value.strip() if isinstance(value, str) else ""
        name = label_text(raw_label, names)
        if not content:
            empty.append(place)
        elif name is None:
            unlabelled.append(place)
        else:
            prepared.texts.append(content)
            prepared.labels.append(name)
            prepared.places.append(place)
            prepared.splits.append(split)
    refuse_missing_labels(table, label, len(unlabelled))
    prepared.findings += table.problems
    for code, places, what in (
        ("text-empty", empty, f"rows have no text in column {text!r}"),
        ("label-missing", unlabelled, f"rows have no label in column {label!r}"),
    ):
        if places:
            _note(prepared, code, table.name, f"{len(places)} {what}; they are left out.", places)


def _drop_unknown_labels(prepared: Prepared, known: set[str], names: list[str] | None) -> None:
    rows = zip(prepared.labels, prepared.splits, strict=True)
    unknown = [row for row, (name, _) in enumerate(rows) if name not in known]
    if not unknown:
        return
    labels = Counter(prepared.labels[row] for row in unknown)
    shown = ", ".join(f"{name!r} ({count})" for name, count in labels.most_common(5))
    prepared.findings.append(
        Finding(
            Severity.ERROR,
            "label-unknown",
            " and ".join(sorted({prepared.splits[row] for row in unknown})),
            f"{len(unknown)} held-out rows have labels that training never shows: {shown}.",
            "Correct the spelling, add training rows, or remove these rows.",
            tuple(prepared.places[row] for row in unknown[:5]),
        )
    )
    _keep(prepared, set(range(len(prepared.texts))) - set(unknown))


def _drop_leaks(prepared: Prepared) -> None:
    leaking = leaking_rows(prepared.splits, prepared.groups)
    if not leaking:
        return
    _note(
        prepared,
        "split-leak",
        "splits",
        f"{len(leaking)} rows repeat, word for word or nearly, a row that is held out more "
        "strictly; they are left out of training, so that the figures stay true.",
        [prepared.places[row] for row in leaking],
    )
    _keep(prepared, set(range(len(prepared.texts))) - set(leaking))


def _make_splits(prepared: Prepared, tables: dict[str, Table], job: ClassifyJob) -> None:
    shares = {
        split: share
        for split, share in (
            ("validation", job.data.validation_share),
            ("test", job.data.test_share),
        )
        if split not in tables
    }
    rows = [row for row, split in enumerate(prepared.splits) if split == "train"]
    made = assign_splits(
        [prepared.labels[row] for row in rows],
        [prepared.groups[row] for row in rows],
        shares,
        job.seed,
    )
    for row, split in zip(rows, made, strict=True):
        prepared.splits[row] = split
    for split in SPLITS:
        if split not in prepared.splits:
            raise DataError(
                f"no row is left for the {split} split.",
                where="data",
                hint="Most rows repeat one another; more, and more different, texts are needed.",
            )


def _keep(prepared: Prepared, rows: set[int]) -> None:
    for name in ("texts", "labels", "places", "splits", "groups"):
        values: list[Any] = getattr(prepared, name)
        setattr(prepared, name, [value for row, value in enumerate(values) if row in rows])


def _note(prepared: Prepared, code: str, where: str, what: str, places: list[str]) -> None:
    prepared.findings.append(Finding(Severity.WARNING, code, where, what, "", tuple(places[:5])))


def write_prepared(prepared: Prepared, folder: Path, source: str) -> dict[str, Any]:
    """Write the splits and, last, the manifest; returns the manifest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    index = {name: number for number, name in enumerate(prepared.label_names)}
    counts: dict[str, dict[str, int]] = {}
    for split in SPLITS:
        rows = [row for row, s in enumerate(prepared.splits) if s == split]
        counts[split] = dict.fromkeys(prepared.label_names, 0) | Counter(
            prepared.labels[row] for row in rows
        )
        table = pa.table(
            {
                "text": [prepared.texts[row] for row in rows],
                "label": [index[prepared.labels[row]] for row in rows],
                "place": [prepared.places[row] for row in rows],
                "group": [prepared.groups[row] for row in rows],
            }
        )
        pq.write_table(table, folder / f"{split}.parquet", compression="zstd")
    manifest = {
        "source": source,
        "columns": prepared.columns,
        "labels": prepared.label_names,
        "rows": {split: sum(by_label.values()) for split, by_label in counts.items()},
        "rows_by_label": counts,
        "sha256": {split: durable.sha256_file(folder / f"{split}.parquet") for split in SPLITS},
    }
    write_findings(folder, prepared.findings)
    durable.write_json(folder / "manifest.json", manifest)
    return manifest


def main(run: Run) -> None:
    """Prepare the data of a run."""
    job = run.job(ClassifyJob)
    step = run.plan.step("prepare")
    path = run.source(step, "data") if "data" in step.sources else None
    tables, commit = read_source(job.data, path)
    prepared = prepare(tables, job)
    name = job.data.hub or Path(cast(str, job.data.path)).name
    manifest = write_prepared(prepared, run.path / "data", at_revision(name, commit))
    run.event(
        "note",
        step="prepare",
        text=f"texts from column {manifest['columns']['text']!r}, labels from "
        f"{manifest['columns']['label']!r} ({', '.join(manifest['labels'][:8])}"
        f"{', ...' if len(manifest['labels']) > 8 else ''}); "
        + ", ".join(f"{count} {split}" for split, count in manifest["rows"].items()),
    )


if __name__ == "__main__":
    step_process(main)
