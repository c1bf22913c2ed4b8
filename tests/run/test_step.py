from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from deepsynth.errors import RunError
from deepsynth.run.step import Plan, Step


def step(name: str, **fields: Any) -> Step:
    return Step.model_validate({"name": name, "argv": ["true"]} | fields)


def test_upto_takes_a_step_and_what_it_needs() -> None:
    plan = Plan(
        steps=[
            step("prepare"),
            step("aside"),
            step("check", after=["prepare"]),
            step("train", after=["check"]),
            step("evaluate", after=["train"]),
        ]
    )
    assert [s.name for s in plan.upto("train")] == ["prepare", "check", "train"]
    assert plan.step("aside").name == "aside"
    with pytest.raises(RunError, match="no step publish"):
        plan.step("publish")


@pytest.mark.parametrize(
    ("steps", "what"),
    [
        ([step("a"), step("a")], "step a is there twice"),
        ([step("a", after=["b"]), step("b")], "step a comes before b"),
        ([step("a", outputs=["x"]), step("b", outputs=["x"])], "x is made by a and b"),
    ],
)
def test_a_plan_that_cannot_be_done_is_refused(steps: list[Step], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        Plan(steps=steps)


@pytest.mark.parametrize("name", ["", "Train", "../x", "a b", "1st"])
def test_a_step_is_named_so_that_it_can_be_a_folder(name: str) -> None:
    with pytest.raises(ValidationError):
        step(name)


@pytest.mark.parametrize(
    "fields",
    [
        {"environment": "/tmp/evil"},
        {"environment": "../evil"},
        {"title": "Training\n#SBATCH --uid=0"},
        {"title": 'x"""\nimport os'},
        {"outputs": ["../../home"]},
        {"outputs": ["/etc"]},
        {"outputs": ["model/../../x"]},
        {"outputs": ["a\nb"]},
        {"outputs": ["steps/train"]},
        {"outputs": ["job.yaml"]},
        {"outputs": [""]},
        {"inputs": ["../x"]},
        {"sources": {"../x": "a"}},
        {"after": ["a b"]},
    ],
)
def test_what_would_reach_out_of_the_run_or_into_a_script_is_refused(
    fields: dict[str, Any],
) -> None:
    with pytest.raises(ValidationError):
        step("a", **fields)


def test_a_plan_survives_its_file() -> None:
    plan = Plan(steps=[step("a", settings={"rate": 5e-5, "names": ["é"]}, array=3)])
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
