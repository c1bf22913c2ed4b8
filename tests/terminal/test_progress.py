"""Progress as people see it: few lines in a pipe, a bar on a terminal, nothing when quiet."""

from __future__ import annotations

import os
import pty

import pytest

from deepsynth.run.progress import Progress
from deepsynth.terminal.progress import progress_shown


def tell(*, quiet: bool = False) -> None:
    with progress_shown(quiet=quiet) as show:
        show(Progress("preflight", "looking at [link=x] the Hub"))
        for done in range(0, 3001, 10):
            show(Progress("tales", "", done, 3000, "rows"))
        show(Progress("upload", "a.parquet", 1_500_000, 3_000_000, "bytes"))


def test_in_a_pipe_there_is_a_line_for_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    tell()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "preflight: looking at [link=x] the Hub"
    assert lines[1:-1] == [f"tales: {n * 300:,} of 3,000 rows" for n in range(1, 11)]
    assert lines[-1] == "upload: 1.5 of 3.0 MB"


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        tell()
    shown = b""
    while True:
        try:
            shown += os.read(reader, 65536)
        except OSError:
            break
    os.close(reader)
    assert "━".encode() in shown
    assert b"3,000 of 3,000 rows" in shown


def test_when_quiet_there_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    tell(quiet=True)
    assert capsys.readouterr().err == ""
