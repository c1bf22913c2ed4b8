"""A small classify job, and `deepsynth` as a process: what the tests of the house share."""

from __future__ import annotations

import csv
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from deepsynth.run.run import Run
from deepsynth.run.warm import NotWarm
from tests.support.environment import environment as environment
from tests.support.warm import Command

_WORDS = {
    "complaint": "broken late angry refund never lost damaged wrong awful waited",
    "request": "please could send change address need help book invoice when",
    "comment": "lovely great thanks nice smile garden sunny happy pleasant enjoyed",
}
_THINGS = (
    "parcel order shop lamp kettle ticket train visit phone letter staff screen window chair book "
    "table road river stone clock"
)

JOB: dict[str, Any] = {
    "family": "classify",
    "data": {"path": "tickets.csv"},
    "model": "scratch:tiny",
    "train": {
        "epochs": 2,
        "batch_size": 4,
        "strategy": "steps",
        "every": 3,
        "patience": 99,
    },
    "check": {"learn": False},
    "evaluation": {"bootstrap_samples": 100},
}
"""32 updates on 63 texts, a checkpoint every third; the test split is learned well."""


def tickets(count: int = 75, seed: int = 5) -> list[tuple[str, str]]:
    """Short different texts with their labels, the labels in turn."""
    generator = random.Random(seed)
    rows: list[tuple[str, str]] = []
    for index in range(count):
        label = list(_WORDS)[index % 3]
        words = generator.sample(_WORDS[label].split(), 3) + generator.sample(_THINGS.split(), 4)
        generator.shuffle(words)
        rows.append((" ".join(words), label))
    return rows


def write_csv(path: Path, rows: Iterable[Iterable[Any]], header: str = "text,label") -> Path:
    """A CSV of these rows below a header line."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        stream.write(header + "\n")
        csv.writer(stream, lineterminator="\n").writerows(rows)
    return path


def write_job(folder: Path, changes: dict[str, Any] | None = None) -> Path:
    """`JOB` with other values in place, beside its tickets unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "tickets.csv").exists():
        write_csv(folder / "tickets.csv", tickets())
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(JOB | (changes or {}), sort_keys=False), encoding="utf-8")
    return path


def deepsynth(*arguments: object, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, and wait for it; `how` is that of `start`."""
    return run_module("deepsynth.cli", *arguments, **how)


def run_module(
    module: str, *arguments: object, timeout: float = 240, **how: Any
) -> subprocess.CompletedProcess[str]:
    """Run `python -m MODULE ARGUMENTS`, and wait for it; `how` is that of `start`."""
    process = start(*arguments, module=module, **how)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    code = process.returncode
    assert code is not None
    return subprocess.CompletedProcess(process.args, code, out, err)


def start(
    *arguments: object,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    module: str = "deepsynth.cli",
) -> Command | subprocess.Popen[str]:
    """Start the command line in a process group of its own, as a terminal does.

    It is forked from a warm process where its variables allow that.
    """
    words = [str(argument) for argument in arguments]
    env = environment() if env is None else env
    try:
        return Command(words, env, cwd, module)
    except NotWarm:
        return subprocess.Popen(
            [sys.executable, "-m", module, *words],
            env=dict(env),
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def wait_until(true: Callable[[], Any], seconds: float = 60, what: str = "it") -> None:
    """Look often until something is so.

    Raises:
        TimeoutError: It never was.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.005)


def curve(run: Path) -> list[tuple[Any, ...]]:
    """The training curve of a run without its clock."""
    return [
        tuple(sorted((key, value) for key, value in point.items() if key != "time"))
        for point in Run(run).metrics()
    ]


def kinds(run: Path, step: str) -> list[str]:
    """What happened to a step, in order, without its progress."""
    events = [event for event in Run(run).events() if event.get("step") == step]
    return [event["kind"] for event in events if event["kind"] not in ("progress", "note")]
