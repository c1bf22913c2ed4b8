"""Settings of any file, read strictly: sections, also under names of people's choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from deepsynth.errors import JobError
from deepsynth.job.settings import Section, Setting, setting_names, validate


class Need(Section):
    cpu: int | None = None
    lines: list[str] | None = None


class Place(Section):
    host: str | None = None
    every: Need | None = None
    steps: dict[str, Need] = Field(default_factory=dict)


def refused(values: Any) -> JobError:
    places = {(): 1, ("steps",): 2, ("steps", "train"): 3, ("steps", "train", "cpus"): 4}
    origins = {key: Setting(None, "file", f"p.yaml:{line}") for key, line in places.items()}
    with pytest.raises(JobError) as caught:
        validate(Place, values, "a place", Path("p.yaml"), origins)
    return caught.value


@pytest.mark.parametrize(
    ("values", "where", "what", "hint"),
    [
        ({"hots": "a"}, 1, "hots is not a setting of a place", "Did you mean host?"),
        ({"steps": {"train": {"cpus": 2}}}, 4, "steps.train.cpus", "Did you mean cpu?"),
        ({"steps": {"train": {"x": 2}}}, 3, "steps.train.x", "Settings here: cpu, lines."),
        ({"every": {"cpus": 2}}, 1, "every.cpus", "Did you mean cpu?"),
        ({"steps": {"train": 3}}, 3, "steps.train has settings", "Below it, indented: cpu, lines."),
        ({"every": {"lines": "a b"}}, 1, "every.lines is a list", "Write lines: [a b]"),
        ({"steps": {"train": {"cpu": "2"}}}, 3, "steps.train.cpu is '2', but", None),
        ("login.example.org", 1, "a place has settings", "Below it, indented: host"),
        (None, 1, "a place has settings", "Below it, indented: host"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_remedy(
    values: Any, where: int, what: str, hint: str | None
) -> None:
    error = refused(values)
    assert error.where == f"p.yaml:{where}"
    assert what in error.what
    assert (hint or "") in (error.hint or "")


def test_names_of_peoples_choice_stand_for_themselves() -> None:
    assert list(setting_names(Place)) == [
        "host",
        "every.cpu",
        "every.lines",
        "steps.NAME.cpu",
        "steps.NAME.lines",
    ]
