from __future__ import annotations

import io
from pathlib import Path

import pytest

from deepsynth.run.run import Run
from deepsynth.terminal.console import Console
from deepsynth.terminal.display import RunDisplay, read_new_lines
from tests.support.toy import make_run, shell


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", shell("first", "true", title="Doing it"))


def shown(run: Run, *, terminal: bool = False, quiet: bool = False) -> str:
    """What a display says about a step from start to end."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120)
    with RunDisplay(run, quiet=quiet, console=console) as display:
        run.event("step_started", step="first", index=0)
        display.tick()
        run.event("progress", step="first", done=1, total=4, unit="rows", note="macro-F1 0.5")
        display.tick()
        run.event("note", step="first", text="labels [/b] and [red]x")
        run.event("resumed", step="first", update=7)
        run.event("step_done", step="first", index=0, seconds=2.0)
        run.event("step_skipped", step="first", index=0)
    return out.getvalue()


def test_without_a_terminal_there_are_plain_lines(run: Run) -> None:
    assert shown(run).splitlines() == [
        "Doing it ...",
        "Doing it: 1 of 4 rows, macro-F1 0.5",
        "labels [/b] and [red]x",
        "Doing it: goes on from update 7",
        "Doing it: done in 2.0 s",
        "Doing it: done before",
    ]


def test_on_a_terminal_there_is_a_bar_with_the_time_left(run: Run) -> None:
    text = shown(run, terminal=True)
    assert "\x1b[" in text
    assert "left" in text
    assert "macro-F1 0.5" in text
    assert "4/4" in text
    assert "[/b]" in text


def test_no_color_takes_the_colours_but_not_the_bar(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(run, terminal=True)
    assert "4/4" in text
    assert "\x1b[32m" not in text
    assert "\x1b[38" not in text


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_shows_nothing(run: Run, terminal: bool) -> None:
    assert shown(run, terminal=terminal, quiet=True) == ""


def test_what_happened_before_is_not_told_again(run: Run) -> None:
    run.event("note", step="first", text="long ago")
    assert "long ago" not in shown(run)


def test_half_a_line_waits_for_its_other_half_and_a_broken_one_is_passed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert read_new_lines(path, 0) == ([], 0)
    path.write_bytes(b'{"a": 1}\n{"a"')
    lines, offset = read_new_lines(path, 0)
    assert (lines, offset) == ([{"a": 1}], 9)
    with path.open("ab") as stream:
        stream.write(b': 2}\n{"a{"a": 3}\n{"a": 4}\n')
    assert read_new_lines(path, offset)[0] == [{"a": 2}, {"a": 4}]
