"""A child answers in lines, is watched, and never outlives whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from deepsynth.run.child import Child, ChildEnded, ChildSilent

ECHO = """
    from deepsynth.run.child import Parent
    parent = Parent()
    for value in parent.requests():
        print("a library talks")
        parent.answer({"got": value})
"""


def child(script: str) -> Child:
    return Child([sys.executable, "-c", textwrap.dedent(script)])


def test_it_answers_each_line_whatever_libraries_print() -> None:
    with child(ECHO) as echo:
        for value in (1, {"é": ["x"]}):
            echo.send(value)
            assert echo.receive(60) == {"got": value}


def test_what_is_no_answer_is_left_out() -> None:
    with child("print('[1]\\n{\\nnull\\n{\"a\": 1}', flush=True)") as noisy:
        assert noisy.receive(60) == {"a": 1}


def test_one_that_dies_says_how() -> None:
    with child("import sys; sys.exit('no such font')") as dead:
        with pytest.raises(ChildEnded, match="exit code 1: no such font"):
            dead.receive(60)
        with pytest.raises(ChildEnded, match="exit code 1"):
            dead.receive(60)
    with child("import time; time.sleep(600)") as killed:
        os.kill(killed.process.pid, signal.SIGKILL)
        with pytest.raises(ChildEnded, match="killed by signal 9"):
            killed.receive(60)


def test_one_that_says_nothing_is_not_waited_for_and_ends() -> None:
    with child("import time; time.sleep(600)") as silent, pytest.raises(ChildSilent):
        silent.receive(0.1)
    assert silent.process.poll() is not None


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    own = textwrap.dedent(ECHO).replace("for value", "parent.end_with_it()\nfor value", 1)
    start = f"""
        import sys, time
        from deepsynth.run.child import Child
        child = Child([sys.executable, "-c", {own!r}])
        print(child.process.pid, flush=True)
        time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(start)], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    until = time.monotonic() + 30
    while psutil.pid_exists(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)


def test_a_module_in_the_working_folder_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "psutil.py").write_text("raise SystemExit('a stranger ran')")
    monkeypatch.chdir(tmp_path)
    script = "import psutil; from deepsynth.run.child import Parent; Parent().answer({'ok': 1})"
    with child(script) as safe:
        assert safe.receive(60) == {"ok": 1}
