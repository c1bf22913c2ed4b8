from __future__ import annotations

from typing import Any

import pytest

from deepsynth.data.columns import (
    find_label_column,
    find_text_column,
    label_order,
    label_text,
    refuse_missing_labels,
)
from deepsynth.data.table import Table
from deepsynth.errors import DataError

LONG = [f"a long sentence number {n} about something" for n in range(9)]
FEW = ["a", "b", "c"] * 3


def table(**columns: list[Any]) -> Table:
    places = [f"t.csv:{line}" for line in range(2, 2 + len(next(iter(columns.values()))))]
    return Table("t.csv", columns, places)


@pytest.mark.parametrize(
    ("columns", "text", "label"),
    [
        ({"id": FEW, "Message": LONG, "Category": FEW}, "Message", "Category"),
        ({"x": LONG, "y": FEW}, "x", "y"),
        ({"x": LONG, "y": [0, 1, 2] * 3}, "x", "y"),
        ({"x": LONG, "y": [True, False, True] * 3}, "x", "y"),
        ({"x": LONG, "y": FEW, "n": list(range(9))}, "x", "y"),
        ({"label": LONG, "x": ["short"] * 9}, "x", "label"),
        ({"texte": LONG, "étiquette": FEW}, "texte", "étiquette"),
    ],
)
def test_columns_are_found_by_name_then_by_content(
    columns: dict[str, list[Any]], text: str, label: str
) -> None:
    data = table(**columns)
    assert find_text_column(data, None) == text
    assert find_label_column(data, None, text) == label


def test_a_named_column_wins_and_must_exist() -> None:
    data = table(text=LONG, other=LONG, label=FEW, kind=FEW)
    assert find_text_column(data, "other") == "other"
    assert find_label_column(data, "kind", "text") == "kind"
    with pytest.raises(DataError, match="no column 'txt'") as caught:
        find_text_column(data, "txt")
    assert caught.value.hint == "Columns: text, other, label, kind."


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"text": LONG, "label": FEW, "category": FEW}, "could be the labels: label, category"),
        ({"text": LONG, "a": FEW, "b": FEW}, "could be the labels: a, b"),
        ({"text": LONG, "a": LONG}, "no column looks like labels"),
        ({"text": LONG, "a": ["same"] * 9}, "no column looks like labels"),
        ({"text": LONG, "a": [0.5, 0.25, 0.5] * 3}, "no column looks like labels"),
    ],
)
def test_labels_are_never_guessed_between_two(columns: dict[str, list[Any]], what: str) -> None:
    with pytest.raises(DataError, match=what):
        find_label_column(table(**columns), None, "text")


def test_texts_are_never_guessed_between_two() -> None:
    with pytest.raises(DataError, match="could be the texts: text, message") as caught:
        find_text_column(table(text=LONG, message=LONG), None)
    assert caught.value.hint == "Name the right one in the job: data.text: text"
    with pytest.raises(DataError, match="no column holds texts"):
        find_text_column(table(a=[1, 2], label=["x", "y"]), None)


@pytest.mark.parametrize(
    ("value", "names", "label"),
    [
        (" x ", None, "x"),
        (0, None, "0"),
        (3.0, None, "3"),
        (False, None, "false"),
        (1, ["no", "yes"], "yes"),
        (1.0, ["no", "yes"], "yes"),
        (-1, ["no", "yes"], None),
        (2, ["no", "yes"], None),
        ("yes", ["no", "yes"], "yes"),
        (None, None, None),
        ("", None, None),
        ("  ", None, None),
        (float("nan"), None, None),
    ],
)
def test_a_label_has_one_name_or_is_missing(value: Any, names: Any, label: str | None) -> None:
    assert label_text(value, names) == label


def test_labels_have_one_order() -> None:
    assert label_order(["b", "a", "b"], None) == ["a", "b"]
    assert label_order(["10", "9", "-1"], None) == ["-1", "9", "10"]
    assert label_order(["no"], ["yes", "no", "maybe"]) == ["yes", "no", "maybe"]
    assert label_order(["other", "no"], ["yes", "no"]) == ["no", "other"]


def test_a_fifth_without_labels_is_too_many() -> None:
    data = table(text=["x"] * 10)
    refuse_missing_labels(data, "label", 0)
    refuse_missing_labels(data, "label", 1)
    with pytest.raises(DataError, match="2 of 10 rows have no value in the label column 'label'"):
        refuse_missing_labels(data, "label", 2)
