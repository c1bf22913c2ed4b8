from __future__ import annotations

import time
from itertools import pairwise

import pytest

from deepsynth.errors import JobError
from deepsynth.job.strict_yaml import read_ours, read_scalar, read_yaml, write_ours


def test_every_key_has_its_line() -> None:
    values, lines = read_yaml("family: classify\n\ntrain:\n  epochs: 3\n  names: [a, b]\n", "job")
    assert values == {"family": "classify", "train": {"epochs": 3, "names": ["a", "b"]}}
    assert lines == {
        ("family",): 1,
        ("train",): 3,
        ("train", "epochs"): 4,
        ("train", "names"): 5,
        ("train", "names", 0): 5,
        ("train", "names", 1): 5,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("5e-5", 5e-5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("010", 10),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("true", True),
        ("~", None),
        ("", None),
        ("'3'", "3"),
        ("[a, 2]", ["a", 2]),
    ],
)
def test_scalars_follow_the_core_schema_not_yaml_1_1(text: str, value: object) -> None:
    read = read_scalar(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "job", "empty"),
        ("- a\n- b\n", "job:1", "key: value"),
        ("a: 1\nb: 2\na: 3\n", "job:3", "a is set twice (first on line 1)"),
        ("a:\n  b: 1\n  b: 2\n", "job:3", "a.b is set twice"),
        ("a: [1, 2\nb: 3\n", "job:2", "not YAML"),
        ("a: 1\n\tb: 2\n", "job:2", "not YAML"),
        ("3: x\n", "job:1", "must be text"),
        ("a: !!python/object/apply:os.system [id]\n", "job:1", "not YAML"),
        ("a: &x\n  b: *x\n", "job:2", "aliases"),
        ("a: !!bool x\n", "job", "not YAML"),
        ("a: !!timestamp 9999-99-99\n", "job", "not YAML"),
        ('a: "\\U00110000"\n', "job", "not YAML"),
        (f"a: {'9' * 5000}\n", "job:1", "5000 digits"),
        ("a: \x01\n", "job", "not YAML"),
        ("a: " + "[" * 5000, "job", "nested too deeply"),
        ("<<: {a: 1}\nb: \n  <<: 2\n  <<: 3", "job:4", "twice"),
    ],
)
def test_what_is_not_a_job_is_refused_with_its_line(text: str, where: str, what: str) -> None:
    with pytest.raises(JobError) as caught:
        read_yaml(text, "job")
    assert caught.value.where == where
    assert what in caught.value.what


def test_a_few_lines_cannot_mean_gigabytes() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for above, below in pairwise("abcdefghi"):
        bomb += f"{below}: &{below} [{', '.join([f'*{above}'] * 9)}]\n"
    started = time.monotonic()
    for read in (read_yaml, read_ours):
        with pytest.raises(JobError, match="aliases"):
            read(bomb, "job")
    assert time.monotonic() - started < 5


def test_what_is_ours_is_read_back_the_way_it_was_written() -> None:
    same = ["no", "5e-5", "é", "2026-11-01"]
    tree = {"a": {"value": same}, "b": {"value": same}, "rate": 5e-5, "none": None}
    assert "&" not in write_ours(tree)
    assert read_ours(write_ours(tree), "resolved.yaml") == tree
