"""No input from outside makes anything but an error of ours: where, what, and what next.

Each target is a border (docs/reference/trust.md). A few hundred cases each are tried with every run
of the tests, always the same ones; `pytest tests/fuzz --fuzz-seconds 60` goes on for a minute with
each target, from cases nobody saw before. A case that fails is named by its number.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from deepsynth.errors import DeepSynthError
from tests.fuzz.targets import TARGETS, Target

CASES = 120


def attack(target: Target, folder: Path, number: int, seed: str) -> None:
    """Try one case.

    Raises:
        AssertionError: Something else than an error of ours came out.
    """
    chance = random.Random(f"{seed}/{target.name}/{number}")
    seeds = target.seeds
    data = target.mutate(chance.choice(seeds), chance, seeds)
    try:
        target.read(data, folder)
    except DeepSynthError:
        return
    except Exception as error:
        kept = folder / f"case-{number}"
        kept.write_bytes(data)
        pytest.fail(f"{target.name}, case {number} of {seed!r} ({kept}): {error!r}")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_damaged_input_makes_errors_of_ours(
    target: Target, tmp_path: Path, fuzz_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for sound in target.seeds:
            target.read(sound, tmp_path)
        if not fuzz_seconds:
            for number in range(CASES):
                attack(target, tmp_path, number, "always")
            return
        until, seed = time.monotonic() + fuzz_seconds, str(time.time())
        for number in count():
            attack(target, tmp_path, number, seed)
            if time.monotonic() > until:
                print(f"\n{target.name}: {number + 1} cases")
                return


def test_the_harness_finds_what_is_not_caught(tmp_path: Path) -> None:
    def weak(data: bytes, folder: Path) -> None:
        data.decode()

    target = Target("weak", [b"text"], weak)
    found: list[str] = []
    tries: Callable[[int], None] = lambda number: attack(target, tmp_path, number, "always")  # noqa: E731
    for number in range(CASES):
        try:
            tries(number)
        except pytest.fail.Exception as failure:
            found.append(str(failure))
    assert found
    assert "UnicodeDecodeError" in found[0]
