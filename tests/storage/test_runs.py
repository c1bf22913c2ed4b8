"""Runs that are kept in object storage, through the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deepsynth import durable, storage
from deepsynth.errors import RunError
from deepsynth.run.run import Run
from deepsynth.storage.stores import join
from deepsynth.verbs.locations import keep
from tests.conftest import Answer
from tests.support import tickets


@pytest.fixture
def job(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job file, and a working folder of its own."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tickets.write_job(tmp_path / "job")


@pytest.fixture
def disk(tmp_path: Path) -> str:
    """A location on a disk."""
    return f"file://{tmp_path}/store"


def prepare(command: Callable[..., Answer], *arguments: object) -> Answer:
    answer = command("prepare", *arguments, "--quiet")
    assert answer.code == 0, answer.err
    return answer


def test_a_run_is_kept_in_storage_and_goes_on_from_another_machine(
    command: Callable[..., Answer],
    place: str,
    job: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = join(place, "runs", "first")
    prepare(command, job, "--runs", join(place, "runs"), "--name", "first")
    here = Path("runs/first").resolve()
    kept = storage.read_publication(url)
    assert kept
    assert set(durable.digest(here)) - set(kept.files) == {"run.lock"}
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    prepare(command, url)
    assert tickets.kinds(Path("runs/first"), "prepare")[-1] == "step_skipped"
    newer = storage.read_publication(url)
    assert newer
    assert newer.generation != kept.generation
    # Back on the first machine: what was done elsewhere is not overwritten.
    monkeypatch.chdir(tmp_path / "here")
    answer = command("prepare", url, "--quiet")
    assert answer.code != 0
    assert "this run went on elsewhere" in answer.err
    assert tickets.kinds(Path("runs/first"), "prepare")[-1] == "step_done"
    with pytest.raises(RunError, match="went on elsewhere"):
        keep(Run(Path("runs/first")))
    assert storage.read_publication(url) == newer
    shutil.move("runs/first", "aside")
    prepare(command, url)


def test_a_run_in_storage_can_be_looked_at(
    command: Callable[..., Answer], disk: str, job: Path
) -> None:
    url = join(disk, "runs", "first")
    prepare(command, job, "--runs", join(disk, "runs"), "--name", "first")
    shutil.rmtree("runs")
    answer = command("status", url)
    assert answer.code == 0, answer.err
    assert "Preparing the data" in answer.out
    assert not Path("runs").exists()


def test_the_folder_of_another_run_is_not_taken(
    command: Callable[..., Answer], disk: str, job: Path
) -> None:
    prepare(command, job, "--name", "first")
    answer = command("prepare", job, "--runs", disk, "--name", "first")
    assert answer.code == 2
    assert "another run is in the folder" in answer.err
    assert storage.read_publication(join(disk, "first")) is None


def test_a_failure_is_kept_too(command: Callable[..., Answer], disk: str, job: Path) -> None:
    prepare(command, job, "--runs", disk, "--name", "first")
    kept = storage.read_publication(join(disk, "first"))
    job.with_name("tickets.csv").unlink()
    answer = command("prepare", join(disk, "first"), "--quiet")
    assert answer.code == 2
    assert "is not there any more" in answer.err
    failed = storage.read_publication(join(disk, "first"))
    assert kept
    assert failed
    assert failed.generation != kept.generation


def test_a_copied_run_does_not_say_where_its_results_are_sent(
    command: Callable[..., Answer], disk: str, job: Path, tmp_path: Path
) -> None:
    prepare(command, job, "--name", "first")
    theirs = {"url": join(disk, "theirs"), "generation": None}
    durable.write_json(Path("runs/first/location.json"), theirs)
    answer = command("prepare", Path("runs/first"), "--quiet")
    assert not (tmp_path / "store").exists()
    assert answer.code == 0
    assert "location.json" in answer.err


def test_another_run_in_the_place_of_one_that_is_kept_is_not_sent_there(
    command: Callable[..., Answer], disk: str, job: Path
) -> None:
    prepare(command, job, "--runs", disk, "--name", "first")
    kept = storage.read_publication(join(disk, "first"))
    prepare(command, job, "--name", "theirs")
    shutil.rmtree("runs/first")
    shutil.move("runs/theirs", "runs/first")
    prepare(command, Path("runs/first"))
    assert storage.read_publication(join(disk, "first")) == kept
