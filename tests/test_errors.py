"""Errors: where, what and what next, also after they crossed a border as plain data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deepsynth.errors import DataError, StepFailed


def test_an_error_says_where_what_and_what_next() -> None:
    assert str(DataError("is empty.", where="a.csv", hint="Add rows.")) == (
        "a.csv: is empty.\n  Add rows."
    )


def test_an_error_crosses_a_border_whole() -> None:
    error = DataError("is empty.", where="a.csv", hint="Add rows.")
    told = StepFailed.from_dict(json.loads(json.dumps(error.as_dict())))
    assert (str(told), told.exit_code) == (str(error), 2)


@pytest.mark.parametrize(
    "told", [None, [], {}, {"what": 3, "where": [], "exit_code": "0"}, {"exit_code": 0}]
)
def test_what_is_no_error_of_ours_is_a_failure_all_the_same(told: Any) -> None:
    assert StepFailed.from_dict(told).exit_code == 1
