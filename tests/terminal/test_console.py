"""A terminal takes no command from what is shown."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table
from rich.text import Text

from deepsynth.checks import Finding, Severity
from deepsynth.errors import DeepSynthError
from deepsynth.printing import say, visible
from deepsynth.run.run import Run
from deepsynth.terminal.console import Console
from deepsynth.terminal.display import RunDisplay
from deepsynth.terminal.findings import print_findings
from tests.support.toy import make_run, shell

HOSTILE = "[/bad] [link=file:///etc]x[/link] :smile: \x1b]0;title\x07 \x9b31m \u202egnp.exe \udcff"


def harmless(text: str) -> bool:
    return not [c for c in text if c not in "\n\t" and visible(c) != c]


def test_what_commands_a_terminal_is_written_out() -> None:
    assert visible("é\tß\n中") == "é\tß\n中"
    assert visible("\x1b[2J\x9b\u202e\r") == "\\x1b[2J\\u009b\\u202e\\x0d"
    assert json.loads(visible(json.dumps("\x7f\u202e", ensure_ascii=False))) == "\x7f\u202e"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_what_a_stream_lacks_is_written_out(encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    say("中", HOSTILE, file=stream, flush=True)
    assert harmless(stream.buffer.getvalue().decode(encoding))  # type: ignore[attr-defined]


def test_a_console_shows_text_as_text() -> None:
    out = io.StringIO()
    console = Console(file=out, width=200)
    table = Table(HOSTILE, box=None)
    table.add_row(HOSTILE)
    for shown in (HOSTILE, Text(HOSTILE), table):
        console.print(shown)
    assert out.getvalue().count("[/bad] [link=file:///etc]x[/link] :smile: \\x1b]0;title") == 4
    assert harmless(out.getvalue())


def test_colours_are_still_there() -> None:
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system="standard").print("x", style="red")
    assert out.getvalue().startswith("\x1b[31mx")


def test_a_run_shows_no_commands_while_it_goes_on(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", shell("first", "true", title="[/bad] [link=x]title[/link]"))
    for terminal in (False, True):
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=200, color_system=None)
        with RunDisplay(run, console=console) as display:
            run.event("step_started", step="first", index=0)
            run.event("progress", step="first", done=1, total=2, unit="[/bad]", note=HOSTILE[:-1])
            display.tick()
            run.event("note", step="first", text=HOSTILE[:-1])
            run.event("step_done", step="first", index=0, seconds=1.0)
        assert "[/bad] [link=x]title[/link]" in out.getvalue()
        assert "\x1b]0;title" not in out.getvalue()
        assert "\u202e" not in out.getvalue()


def test_findings_show_no_commands(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings([Finding(Severity.ERROR, "x", HOSTILE, HOSTILE, HOSTILE, (HOSTILE,))])
    assert harmless(capsys.readouterr().out)


def test_verbs_that_look_at_a_run_show_no_commands(
    tmp_path: Path, command: Callable[..., Any]
) -> None:
    folder = tmp_path / "[/bad]\x1b[2J"
    run = make_run(folder, shell("first", "true", title="[/bad] title"))
    (run.path / "logs" / "first.log").write_text(f"{HOSTILE[:-1]}\rover\n")
    error = DeepSynthError(HOSTILE[:-1]).as_dict()
    run.event("step_started", step="first", index=0)
    run.event("step_failed", step="first", index=0, error=error)
    for arguments in (
        ["status", folder],
        ["status", folder, "--json"],
        ["status", "--runs", tmp_path],
        ["logs", folder],
        ["compare", folder, folder],
        ["status", folder / "none"],
    ):
        answer = command(*arguments)
        assert harmless(answer.out + answer.err), arguments
        assert "Traceback" not in answer.err
    assert "[/bad] title" in command("status", folder).out
    assert Run(folder).path.is_dir()
