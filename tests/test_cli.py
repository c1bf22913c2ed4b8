from __future__ import annotations

import errno
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepsynth import __version__
from deepsynth.cli import build_app, run_command
from tests.support.tickets import deepsynth, environment
from tests.support.toy import make_run, shell

Command = Callable[..., Any]

VERBS = [
    "init",
    "predict",
    "run",
    "prepare",
    "check",
    "train",
    "evaluate",
    "status",
    "logs",
    "stop",
    "compare",
]


def test_help_lists_every_verb_and_the_version_is_ours(command: Command) -> None:
    answer = command("--help")
    assert answer.code == 0
    for verb in VERBS:
        assert re.search(rf"\b{verb}\b", answer.out)
    assert command("--version").out.strip() == __version__


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_each_verb_has_an_example(command: Command, verb: str) -> None:
    answer = command(verb, "--help")
    assert answer.code == 0
    assert f"deepsynth {verb}" in answer.out.partition("Usage:")[2].partition("\n")[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["trian", "job.yaml"],
        ["run", "job.yaml", "--nmae", "x"],
        ["run", "job.yaml", "--name"],
        ["predict"],
        ["status", "--json=maybe"],
    ],
)
def test_a_mistyped_command_line_is_exit_code_2(command: Command, arguments: list[str]) -> None:
    answer = command(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert "deepsynth --help lists the verbs and options." in answer.err
    assert "Traceback" not in answer.err


def test_the_command_line_answers_at_once() -> None:
    began = time.perf_counter()
    done = deepsynth("--version")
    assert done.returncode == 0
    # Generous, since the machine may be busy; loading torch alone takes longer than this.
    assert time.perf_counter() - began < 5


def test_errors_are_red_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    assert "\x1b[" not in command("status", "nothing").err
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[31m" in command("status", "nothing").err
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in command("status", "nothing").err


def test_paths_with_brackets_are_printed_as_they_are(command: Command, tmp_path: Path) -> None:
    assert (
        f"{tmp_path}/[red]x[/b]: there is no such run."
        in command("status", tmp_path / "[red]x[/b]").err
    )


def test_the_disk_may_be_full_anywhere(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/disk/x")

    monkeypatch.setattr("deepsynth.verbs.runs.load_job", full)
    answer = command("run", "job.yaml")
    assert answer.code == 2
    assert answer.err.startswith("/disk/x: there is no space left.")
    monkeypatch.setattr("deepsynth.verbs.runs.load_job", _interrupted)
    assert command("run", "job.yaml").code == 130


def _interrupted(*arguments: Any, **options: Any) -> None:
    raise KeyboardInterrupt


def test_a_reader_that_has_enough_is_no_error(finished: Path) -> None:
    logs = f"{sys.executable} -m deepsynth.cli logs {finished} train"
    script = f"{logs} | head -c 1; echo ${{PIPESTATUS[0]}}"
    log = finished / "logs" / "train.log"
    kept = log.read_bytes()
    log.write_bytes(b"line\n" * 100_000)
    try:
        done = subprocess.run(
            ["bash", "-c", script], env=environment(), capture_output=True, text=True, check=True
        )
    finally:
        log.write_bytes(kept)
    assert done.stdout == "l0\n"
    assert done.stderr == ""


def test_shells_can_be_taught_to_complete(tmp_path: Path) -> None:
    done = deepsynth("--install-completion", "--shell", "bash", env=environment(HOME=str(tmp_path)))
    assert done.returncode == 0, done.stderr
    scripts = [path for path in tmp_path.rglob("*") if path.is_file()]
    text = "".join(path.read_text() for path in scripts)
    assert "deepsynth" in text
    assert "evaluate" in text


def test_the_app_can_be_built_twice() -> None:
    assert build_app() is not build_app()
    assert run_command(["--version"]) == 0


def test_what_nobody_foresaw_is_kept_and_said_in_a_line(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise LookupError("key hf_secret_thing\nis gone")

    monkeypatch.setenv("DEEPSYNTH_HOME", str(tmp_path))
    monkeypatch.setattr("deepsynth.verbs.look.run_state", broken)
    run = make_run(tmp_path / "run", shell("first", "true"))
    answer = command("status", run.path)
    assert answer.code == 1
    assert len(answer.err.splitlines()) == 1
    (kept,) = (tmp_path / "errors").iterdir()
    assert str(kept) in answer.err
    assert "in broken" in kept.read_text()
    assert "secret" not in kept.read_text() + answer.err
    assert kept.stat().st_mode & 0o077 == 0
