"""Bad input: one message with its place, exit code 2, and nothing a later run would trust."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deepsynth import durable
from deepsynth.run.run import Run, is_run
from deepsynth.verbs.work import _print_result
from tests.conftest import Finished
from tests.support.tickets import JOB, deepsynth, environment, tickets, write_csv, write_job

Command = Callable[..., Any]

ROWS = tickets()


def typo(folder: Path) -> None:
    write_job(folder, {"train": JOB["train"] | {"learning_rte": 1}})


def wrong_type(folder: Path) -> None:
    write_job(folder, {"train": {"epochs": "many"}})


def no_data(folder: Path) -> None:
    write_job(folder, {"data": {"path": "tikets.csv"}})


def empty_folder(folder: Path) -> None:
    write_job(folder, {"data": {"path": "folder"}})
    (folder / "folder").mkdir()


def empty_file(folder: Path) -> None:
    write_job(folder)
    (folder / "tickets.csv").write_bytes(b"")


def binary_file(folder: Path) -> None:
    write_job(folder)
    (folder / "tickets.csv").write_bytes(b"PK\x03\x04\x00\x00")


def other_encoding(folder: Path) -> None:
    write_job(folder)
    (folder / "tickets.csv").write_bytes("text,label\nété,x\n".encode("cp1252"))


def ragged(folder: Path) -> None:
    write_job(folder)
    write_csv(folder / "tickets.csv", [*ROWS[:5], ("a", "b", "c"), *ROWS[5:]])


def ragged_throughout(folder: Path) -> None:
    write_job(folder)
    write_csv(folder / "tickets.csv", [("a", "b", "c")] * 20)


def two_labels(folder: Path) -> None:
    write_job(folder)
    rows = [(text, label, label) for text, label in ROWS]
    write_csv(folder / "tickets.csv", rows, "text,label,category")


def no_such_column(folder: Path) -> None:
    write_job(folder, {"data": {"path": "tickets.csv", "label": "kind"}})


def one_class(folder: Path) -> None:
    write_job(folder)
    write_csv(folder / "tickets.csv", [(text, "complaint") for text, _ in ROWS])


def half_labelled(folder: Path) -> None:
    write_job(folder)
    rows = [(text, label if n % 2 else "") for n, (text, label) in enumerate(ROWS)]
    write_csv(folder / "tickets.csv", rows)


def one_row(folder: Path) -> None:
    write_job(folder)
    write_csv(folder / "tickets.csv", ROWS[:1])


def no_such_scratch(folder: Path) -> None:
    write_job(folder, {"model": "scratch:huge"})


def no_such_model_folder(folder: Path) -> None:
    write_job(folder, {"model": "./my-model"})


def not_a_classifier(folder: Path) -> None:
    """An image model, with the tokenizer of a text model beside it."""
    from transformers import ViTConfig

    from deepsynth.families.classify.models import train_tokenizer

    write_job(folder, {"model": "./vit"})
    ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(
        folder / "vit"
    )
    train_tokenizer([text for text, _ in ROWS], 100).save_pretrained(folder / "vit")


def fp16(folder: Path) -> None:
    write_job(folder, {"train": JOB["train"] | {"mixed_precision": "fp16"}})


BAD = [
    (typo, "job.yaml:", "train.learning_rte is not a setting", "Did you mean learning_rate?"),
    (wrong_type, "job.yaml:", "train.epochs is 'many'", ""),
    (no_data, "tikets.csv: ", "there is no such file", "Data files there: tickets.csv."),
    (empty_folder, "folder: ", "no data files in this folder", "Put .csv"),
    (empty_file, "tickets.csv: ", "the file is empty", ""),
    (binary_file, "tickets.csv: ", "a binary file", "Export the table as CSV"),
    (other_encoding, "tickets.csv:2: ", "byte 0xe9 is not UTF-8", "data.encoding: cp1252"),
    (ragged, "tickets.csv:7: ", "3 fields where the header has 2", "Put quotes"),
    (ragged_throughout, "tickets.csv:2: ", "not one row can be read", "Put quotes"),
    (two_labels, "tickets.csv: ", "could be the labels: label, category", "data.label"),
    (no_such_column, "tickets.csv: ", "no column 'kind'", "Columns: text, label."),
    (one_class, "tickets.csv, column label: ", "every row has the same label", "at least two"),
    (half_labelled, "tickets.csv: ", "38 of 75 rows have no value", "Label them"),
    (one_row, "tickets.csv: ", "1 usable rows are too few", "At least 10"),
    (no_such_scratch, "model: ", "no model 'scratch:huge'", "scratch:tiny"),
    (no_such_model_folder, "my-model", "", ""),
    (not_a_classifier, "vit: ", "vit is not a model that can classify texts", "Take an encoder"),
]
SLOW = (ragged, not_a_classifier)
"""These come to light in a step that loads torch."""


@pytest.mark.parametrize(
    ("make", "where", "what", "hint"),
    [
        pytest.param(*case, id=case[0].__name__, marks=[pytest.mark.slow] * (case[0] in SLOW))
        for case in BAD
    ],
)
def test_bad_input(
    tmp_path: Path,
    make: Callable[[Path], None],
    where: str,
    what: str,
    hint: str,
) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    make(folder)
    done = deepsynth(
        "train", folder / "job.yaml", "--runs", tmp_path / "runs", "--name", "a", "--quiet"
    )
    assert done.returncode == 2
    first = done.stderr.splitlines()[0]
    assert where in first
    assert what in first
    assert hint in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    run = tmp_path / "runs" / "a"
    assert not (run / "model").exists()
    assert not (run / "metrics.json").exists()
    # Set right, the same command does not stumble over what is left.
    if run.exists():
        assert is_run(run)
        assert not list(run.glob("steps/train/receipt.json"))


@pytest.mark.slow
def test_fp16_without_a_gpu_is_refused_not_ignored(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    fp16(tmp_path)
    done = deepsynth("run", tmp_path / "job.yaml", "--runs", tmp_path, "--name", "a", "--quiet")
    assert done.returncode == 2
    assert "train.mixed_precision: fp16 needs a GPU" in done.stderr


@pytest.mark.slow
def test_a_model_of_the_hub_that_cannot_be_had(tmp_path: Path) -> None:
    write_job(tmp_path, {"model": "nobody/nothing"})
    done = deepsynth("run", tmp_path / "job.yaml", "--runs", tmp_path, "--name", "a", "--quiet")
    assert done.returncode == 2
    assert "nobody/nothing" in done.stderr.splitlines()[0]
    assert "HF_HUB_OFFLINE" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_folder_that_cannot_be_made(command: Command, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    for runs, name in ((job / "below", "a"), (tmp_path, "x" * 300), (tmp_path, "..")):
        answer = command("run", job, "--runs", runs, "--name", name)
        assert answer.code == 2, answer.err
        assert "Traceback" not in answer.err
        assert "\n  " in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["job"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a small disk; `ro` makes it read-only afterwards."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("a disk can only be mounted by root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")

    def make(what: str) -> Path:
        if what == "full":
            with (folder / "filler").open("wb") as stream, pytest.raises(OSError, match="space"):
                stream.write(b"x" * 300_000)
        else:
            subprocess.run(["mount", "-o", f"remount,{what}", folder], check=True)
        return folder

    yield make
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize(("what", "said"), [("full", "No space left"), ("ro", "Read-only")])
def test_a_run_on_a_disk_that_takes_nothing(
    command: Command, tmp_path: Path, disk: Callable[[str], Path], what: str, said: str
) -> None:
    job = write_job(tmp_path / "job")
    folder = disk(what)
    answer = command("run", job, "--runs", folder / "runs", "--name", "a")
    assert answer.code == 2
    assert said in answer.err
    assert "--runs DIR" in answer.err
    assert not list(folder.glob("runs/*"))


def test_a_run_that_became_read_only(
    command: Command, finished: Path, disk: Callable[[str], Path]
) -> None:
    folder = disk("rw,size=20m")
    shutil.copytree(finished, folder / "a")
    disk("ro")
    answer = command("run", "--resume", folder / "a")
    assert answer.code == 2
    assert f"{folder / 'a'}: this run cannot be written to: Read-only file system." in answer.err


def test_a_run_of_another_job_is_left_alone(
    command: Command, copied: Path, tickets_job: Path, tmp_path: Path
) -> None:
    before = {p: p.stat().st_mtime_ns for p in copied.rglob("*") if p.name != "run.lock"}
    name = ["--runs", copied.parent, "--name", copied.name]
    answer = command("run", tickets_job, "train.epochs=3", *name)
    assert answer.code == 2
    assert "this run is of another job: train.epochs is 2.0 there and 3.0 here." in answer.err
    assert "Choose another --name." in answer.err
    other = command("run", write_job(tmp_path / "elsewhere"), *name)
    assert "this run is of another job: data.path is" in other.err
    assert {p: p.stat().st_mtime_ns for p in copied.rglob("*") if p.name != "run.lock"} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear diary")
    mine = command("run", tickets_job, "--runs", tmp_path, "--name", "mine")
    assert mine.code == 2
    assert "this exists already" in mine.err
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["diary.txt"]


def test_the_same_job_goes_on_with_its_own_run(
    command: Command, copied: Path, tickets_job: Path
) -> None:
    answer = command("run", tickets_job, "--runs", copied.parent, "--name", copied.name)
    assert answer.code == 0
    assert "Training: done before" in answer.err
    assert f"Report: {copied / 'report.html'}" in answer.out
    assert "macro-F1" in answer.out


def test_requests_that_contradict_themselves(
    command: Command, finished: Path, tickets_job: Path
) -> None:
    assert "no job is given" in command("run").err
    assert (
        "a run to resume has its own job" in command("run", tickets_job, "--resume", finished).err
    )
    changed = command("train", finished, "train.epochs=9")
    assert changed.code == 2
    assert "settings of an existing run cannot be changed" in changed.err
    assert f"deepsynth run {finished / 'job.yaml'} train.epochs=9" in changed.err


def test_without_a_terminal_there_are_plain_lines(finished_process: Finished) -> None:
    run, out, err = finished_process
    assert "\x1b" not in out + err
    assert "Training: done in" in err
    assert "texts from column 'text', labels from 'label'" in err
    assert f"Run: {run}\nReport: {run / 'report.html'}\n" in out
    assert "majority" not in out
    assert "a linear model" in out  # what it must beat is said in words


def test_quiet_says_the_result_only(command: Command, copied: Path) -> None:
    answer = command("run", "--resume", copied, "--quiet")
    assert answer.err == ""
    assert "macro-F1" in answer.out


def test_check_lists_what_is_wrong_with_its_lines(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    rows = [*ROWS, ("bad", "x", "y"), (ROWS[0][0], "request"), ("  ", "comment")]
    write_csv(tmp_path / "job" / "tickets.csv", rows)
    runs = tmp_path / "tmp"
    runs.mkdir()
    done = deepsynth("check", job, "--json", env=environment(TMPDIR=str(runs)), cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    findings = json.loads(done.stdout)
    order = [finding["severity"] for finding in findings]
    assert order == sorted(order, key=["error", "warning", "info"].index)
    found = {finding["code"]: finding for finding in findings}
    assert found["row-unreadable"]["where"] == "tickets.csv:77"
    assert found["text-empty"]["examples"] == ["tickets.csv:79"]
    assert (
        "tickets.csv:2 / tickets.csv:78: complaint or request"
        in (found["label-conflict"]["examples"])
    )
    assert "updates" in found["ledger"]["what"]
    assert "of training on this machine" in found["budget-time"]["what"]
    assert "are cut at max_length" in found["tokens"]["what"]
    assert "learn-overfit" not in found
    assert list(runs.glob("deepsynth*")) == []  # torch leaves an empty folder of its own
    assert [path.name for path in tmp_path.iterdir()] == ["job", "tmp"]


@pytest.mark.slow
def test_check_learn_proves_that_the_model_can_learn(tickets_job: Path) -> None:
    done = deepsynth("check", tickets_job, "--learn")
    assert done.returncode == 0, done.stderr
    assert "The model can learn: the loss on one batch went from" in done.stdout
    assert "0 errors" in done.stdout
    assert "\x1b" not in done.stdout


def test_check_of_a_finished_run_reads_what_it_found(command: Command, copied: Path) -> None:
    answer = command("check", copied, "--json", "--quiet")
    assert answer.code == 0
    assert {finding["code"] for finding in json.loads(answer.out)} >= {"ledger", "tokens"}


def test_a_run_started_with_nohup_outlives_its_terminal(tmp_path: Path, copied: Path) -> None:
    script = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from deepsynth.cli import run_command\n"
        f"run_command(['run', '--resume', {str(copied)!r}, '--quiet'])\n"
        "print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "True"


def test_labels_that_look_like_markup_are_printed_as_they_are(
    command: Command, copied: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(copied, tmp_path / "other")
    for run, f1 in ((copied, 0.5), (other, 0.25)):
        final = Run(run).final_metrics() or {}
        final["classes"]["[/b]"] = final["classes"].pop("comment") | {"f1": f1}
        durable.write_json(run / "metrics.json", final)
    _print_result(Run(copied))
    assert command("compare", copied, other).out.count("F1 of [/b]") == 1
