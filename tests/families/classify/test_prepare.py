from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from deepsynth import durable
from deepsynth.checks import Severity
from deepsynth.data.table import Table
from deepsynth.errors import DataError
from deepsynth.families.classify.job import ClassifyJob
from deepsynth.families.classify.prepare import Prepared, prepare, write_prepared
from tests.support.tickets import tickets

JOB = ClassifyJob.model_validate(
    {"family": "classify", "data": {"path": "t.csv"}, "model": "scratch:tiny"}
)


def table(rows: list[tuple[Any, Any]], name: str = "t.csv", **names: Any) -> Table:
    columns = {"text": [row[0] for row in rows], "label": [row[1] for row in rows]}
    places = [f"{name}:{line}" for line in range(2, 2 + len(rows))]
    return Table(name, columns, places, label_names=names)


def codes(prepared: Prepared) -> dict[str, Any]:
    return {finding.code: finding for finding in prepared.findings}


def test_one_table_becomes_three_splits_without_a_leak() -> None:
    rows = tickets(300)
    rows += [(text + " !!", label) for text, label in rows[:60]]
    prepared = prepare({"train": table(rows)}, JOB)
    assert prepared.columns == {"text": "text", "label": "label"}
    assert prepared.label_names == ["comment", "complaint", "request"]
    counts = Counter(prepared.splits)
    assert counts["train"] > 280
    assert 30 <= counts["validation"] <= 42
    assert 30 <= counts["test"] <= 42
    where: dict[int, set[str]] = {}
    for group, split in zip(prepared.groups, prepared.splits, strict=True):
        where.setdefault(group, set()).add(split)
    assert all(len(splits) == 1 for splits in where.values())
    for split in counts:
        labels = Counter(
            label for label, s in zip(prepared.labels, prepared.splits, strict=True) if s == split
        )
        assert max(labels.values()) - min(labels.values()) <= 0.1 * counts[split] + 1


def test_given_splits_are_kept_and_missing_ones_made() -> None:
    rows = tickets(120)
    prepared = prepare({"train": table(rows[:100]), "test": table(rows[100:], "u.csv")}, JOB)
    tested = [p for p, s in zip(prepared.places, prepared.splits, strict=True) if s == "test"]
    assert tested == [f"u.csv:{line}" for line in range(2, 22)]
    assert 5 <= prepared.splits.count("validation") <= 15


def test_a_training_row_that_repeats_a_test_row_is_left_out() -> None:
    rows = tickets(120)
    train = [*rows[:100], (rows[110][0].upper() + "?", rows[110][1])]
    prepared = prepare({"train": table(train), "test": table(rows[100:], "u.csv")}, JOB)
    assert "t.csv:102" not in prepared.places
    assert "u.csv:12" in prepared.places
    assert codes(prepared)["split-leak"].examples == ("t.csv:102",)


def test_rows_without_text_or_label_are_left_out_and_named() -> None:
    rows: list[tuple[Any, Any]] = [*tickets(60), ("  ", "comment"), (None, "comment"), ("x", None)]
    prepared = prepare({"train": table(rows)}, JOB)
    assert len(prepared.texts) == 60
    assert codes(prepared)["text-empty"].examples == ("t.csv:62", "t.csv:63")
    assert codes(prepared)["label-missing"].examples == ("t.csv:64",)


def test_labels_that_training_never_shows_are_an_error() -> None:
    rows = tickets(60)
    test = [*rows[45:], ("an odd one out", "compliant")]
    prepared = prepare({"train": table(rows[:45]), "test": table(test, "u.csv")}, JOB)
    unknown = codes(prepared)["label-unknown"]
    assert unknown.severity is Severity.ERROR
    assert "'compliant' (1)" in unknown.what
    assert unknown.examples == ("u.csv:17",)
    assert "compliant" not in prepared.labels


def test_declared_names_give_labels_and_their_order() -> None:
    names = ["request", "complaint", "comment", "praise"]
    rows = [(text, names.index(label)) for text, label in tickets(60)]
    prepared = prepare({"train": table([*rows, ("unlabelled", -1)], label=names)}, JOB)
    assert prepared.label_names == names
    assert set(prepared.labels) == set(names[:3])
    assert codes(prepared)["label-missing"].examples == ("t.csv:62",)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ((0, 1), ["0", "1"]),
        ((True, False), ["false", "true"]),
        (("10", "9"), ["9", "10"]),
    ],
)
def test_labels_may_be_numbers_or_truth_values(labels: tuple[Any, Any], names: list[str]) -> None:
    rows = [(text, labels[n % 2]) for n, (text, _) in enumerate(tickets(40))]
    prepared = prepare({"train": table(rows)}, JOB)
    assert prepared.label_names == names
    assert set(prepared.labels) == set(names)


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (tickets(9), "9 usable rows are too few"),
        ([(text, "same") for text, _ in tickets(40)], "every row has the same label, 'same'"),
        ([("the very same words", "a"), ("the very same words!", "b")] * 20, "no row is left"),
        ([(text, None) for text, _ in tickets(40)], "40 of 40 rows have no value"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(rows: list[Any], what: str) -> None:
    job = JOB.model_copy(
        update={"data": JOB.data.model_copy(update={"text": "text", "label": "label"})}
    )
    with pytest.raises(DataError, match=what):
        prepare({"train": table(rows)}, job)


def test_a_split_without_the_column_is_refused() -> None:
    other = Table("u.csv", {"text": ["a"], "kind": ["x"]}, ["u.csv:2"])
    with pytest.raises(DataError, match="the test split has no column 'label'"):
        prepare({"train": table(tickets(60)), "test": other}, JOB)


def test_what_is_written_is_the_same_bytes_and_counts_itself(tmp_path: Path) -> None:
    prepared = prepare({"train": table(tickets(90))}, JOB)
    manifest = write_prepared(prepared, tmp_path / "a", "t.csv")
    write_prepared(prepare({"train": table(tickets(90))}, JOB), tmp_path / "b", "t.csv")
    assert durable.digest(tmp_path / "a") == durable.digest(tmp_path / "b")
    assert sum(manifest["rows"].values()) == 90
    assert manifest["rows_by_label"]["train"].keys() == {"comment", "complaint", "request"}
    for split, sha256 in manifest["sha256"].items():
        assert durable.sha256_file(tmp_path / "a" / f"{split}.parquet") == sha256
