"""Tables that people open in a spreadsheet."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from deepsynth.evaluation.tables import write_table


def written(path: Path, value: object) -> str:
    write_table(path, ["x"], [[value]])
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))[1][0]


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@SUM(A1)", "\t=1", "=cmd|' /C calc'!A0"])
def test_what_begins_like_a_formula_is_text(tmp_path: Path, text: str) -> None:
    assert written(tmp_path / "t.csv", text) == f"'{text}"


NUMBERS = ["-1", "+3.5", "-1,5", "-1e-5", "-0.5%", -1, -0.25]


@pytest.mark.parametrize("value", [*NUMBERS, "x=1", "", "é"])
def test_numbers_and_other_texts_stay(tmp_path: Path, value: object) -> None:
    assert written(tmp_path / "t.csv", value) == str(value)


def test_headings_are_cells_too(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", ["=a", "b"], [])
    assert (tmp_path / "t.csv").read_text() == "'=a,b\n"
