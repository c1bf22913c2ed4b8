"""`generate --on SITE --array N`: parts drawn side by side, assembled and verified here."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from deepsynth.home import confirm
from deepsynth.pages.steps import part_of
from deepsynth.runners.slurm.runner import SlurmRunner
from tests.conftest import Answer
from tests.pages.generate.conftest import ARTICLES
from tests.support.tickets import kinds, wait_until


def test_parts_hold_every_row_once_and_begin_where_shards_do() -> None:
    splits = {"train": 2500, "validation": 1300, "test": 10}
    parts = [part_of(splits, index, 3) for index in range(3)]
    assert parts == [(0, 1000), (1000, 2500), (2500, 3810)]
    small = [part_of({"train": 10, "test": 3}, index, 24) for index in range(24)]
    assert sorted(row for part in small for row in range(*part)) == list(range(13))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--array", "3"], "--array: goes with --on SITE."),
        (["--on", "local", "--array", "0"], "--array: parts is 0"),
        (["--on", "local", "--end-index", "3"], "goes with whole sources"),
        (["--on", "local", "--size-px", "99"], "size_px"),
        (["--on", "loca"], "no site loca"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_sent(
    arguments: list[str], said: str, tmp_path: Path, command: Callable[..., Answer]
) -> None:
    told = command("generate", ARTICLES, *arguments, "--output-dir", tmp_path / "out")
    assert told.code == 2
    assert said in told.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_cancelled_part_is_named_and_only_it_is_drawn_again(
    here: SlurmRunner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Answer],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sites.yaml").write_text("here: {memory: 300M, cpus: 4}\n")
    confirm(tmp_path / "sites.yaml")
    request = ["generate", ARTICLES, "--max-samples", "6", "--licence", "apache-2.0"]
    elsewhere = [*request, "--on", "here", "--array", "3", "--quiet"]

    def cancel() -> None:
        def waiting() -> list[str]:
            argv = ["squeue", "-h", "-r", "-t", "PD", "-o", "%i"]
            done = subprocess.run(argv, capture_output=True, text=True, check=True)
            # Not the job that puts the parts together: it is no element of an array.
            return [job for job in done.stdout.split() if "_" in job]

        # The node has eight cores: the third part waits for one of the others.
        wait_until(lambda: len(waiting()) == 1)
        subprocess.run(["scancel", *waiting()], check=True)

    thread = threading.Thread(target=cancel)
    thread.start()
    told = command(*elsewhere)
    thread.join()
    assert told.code == 1
    assert "elements 2: it was cancelled" in told.err
    assert "give the same command again" in told.err

    told = command(*elsewhere)
    assert told.code == 0, told.err
    assert "train          6       0" in told.out
    (run,) = (tmp_path / "runs").iterdir()
    assert kinds(run, "pages").count("step_started") == 3
    assert command(*request, "--output-dir", "whole", "--workers", "1", "--quiet").code == 0
    # Fewer than a thousand rows a part: other shards, and the same rows in them.
    assert rows(tmp_path / "datasets" / "articles") == rows(tmp_path / "whole" / "articles")


def rows(folder: Path) -> list[dict[str, Any]]:
    return [
        row
        for path in sorted((folder / "data").glob("*.parquet"))
        for row in parquet.read_table(path).to_pylist()
    ]
