from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.tickets import deepsynth, write_csv

Command = Callable[..., Any]


def test_init_writes_nothing_over_anything(command: Command, tmp_path: Path) -> None:
    answer = command("init", "classify", tmp_path / "new")
    assert answer.code == 0
    assert f"Next: edit {tmp_path / 'new' / 'job.yaml'}" in answer.out
    (tmp_path / "new" / "job.yaml").write_text("mine")
    again = command("init", "classify", tmp_path / "new")
    assert again.code == 2
    assert "this exists already and is left as it is" in again.err
    assert (tmp_path / "new" / "job.yaml").read_text() == "mine"


def test_init_needs_a_family_and_a_folder(command: Command, tmp_path: Path) -> None:
    answer = command("init", "clasify", tmp_path / "new")
    assert answer.code == 2
    assert "Did you mean classify?" in answer.err
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    assert "this is a file, not a folder" in command("init", "classify", tmp_path / "file").err
    below = command("init", "classify", tmp_path / "file" / "below")
    assert below.code == 2
    assert "cannot be written" in below.err


def test_predict_answers_in_the_order_of_the_questions(
    command: Command, finished: Path, tmp_path: Path
) -> None:
    questions = tmp_path / "questions.txt"
    questions.write_text("please could send the parcel\n\nlovely thanks smile\n", encoding="utf-8")
    answer = command(
        "predict", finished, "--text", "broken awful refund", "--file", questions, "--json"
    )
    assert answer.code == 0
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert [line["label"] for line in lines] == ["complaint", "request", "comment"]
    assert lines[0]["text"] == "broken awful refund"
    for line in lines:
        assert line["probability"] == max(line["probabilities"].values())
        assert abs(sum(line["probabilities"].values()) - 1) < 1e-5
    plain = command("predict", finished, "--text", "broken awful refund")
    assert plain.out == f"complaint  {lines[0]['probability']:.3f}  broken awful refund\n"


def test_predict_reads_tables_as_training_does(
    command: Command, finished: Path, tmp_path: Path
) -> None:
    table = write_csv(tmp_path / "new.csv", [(1, "broken awful refund")], "id,text")
    assert "complaint" in command("predict", finished, "--file", table).out
    assert (
        command("predict", finished, table).out == command("predict", finished, "--file", table).out
    )
    write_csv(table, [(1, "broken"), (2, " ")], "id,text")
    empty = command("predict", finished, "--file", table)
    assert (empty.code, empty.out) == (2, "")
    assert "new.csv:3: this row has no text." in empty.err
    write_csv(table, [(1, "broken"), (2, "a", "b")], "id,text")
    assert (
        "new.csv:3: 3 fields where the header has 2."
        in command("predict", finished, "--file", table).err
    )


def test_predict_refuses_what_it_cannot_answer(
    command: Command, finished: Path, untrained: Path, tmp_path: Path
) -> None:
    assert "nothing to predict" in command("predict", finished).err
    assert "no trained classifier here" in command("predict", untrained, "--text", "x").err
    for file, what in (
        (tmp_path / "none.txt", "no such file"),
        (tmp_path, "this is a folder"),
    ):
        answer = command("predict", finished, "--file", file)
        assert answer.code == 2
        assert what in answer.err
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    assert "not a text file" in command("predict", finished, "--file", tmp_path / "binary.txt").err


def test_predict_in_a_process_of_its_own(finished: Path) -> None:
    done = deepsynth("predict", finished, "--text", "broken awful refund", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] == "complaint"
    assert done.stderr == ""
