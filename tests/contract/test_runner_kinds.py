"""A runner says everything about itself: outside of its folder nobody writes its name."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

import deepsynth
from deepsynth.checks import Severity
from deepsynth.errors import MissingDependency
from deepsynth.run.status import run_state
from deepsynth.runners import RUNNERS, RunnerKind, doctor, get_runner, on_help
from tests.conftest import Answer
from tests.support import tickets
from tests.support.outside import install
from tests.support.source import texts
from tests.support.toy import counted, counting, drive, make_run

SOURCE = Path(deepsynth.__file__).parent
REGISTRY = SOURCE / "runners" / "__init__.py"


@pytest.fixture
def nice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of docs/adding-a-runner.md, installed in a folder of its own."""
    folder = install("adding-a-runner.md", tmp_path / "packages")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


@pytest.mark.parametrize("name", RUNNERS.ours)
def test_nobody_else_writes_the_name_of_a_runner(name: str) -> None:
    own = Path(import_module(RUNNERS.ours[name].partition(":")[0]).__file__ or "")
    own = own.parent if own.name == "__init__.py" else own
    # The word "local" means more than the runner: only where it is the whole text is it a name.
    pattern = re.compile(rf"^{name}(:.*)?$" if name == "local" else rf"\b{name}\b")
    for path in SOURCE.rglob("*.py"):
        if own in (path, *path.parents):
            continue
        found = [(line, text) for line, text in texts(path) if pattern.search(text)]
        if path == REGISTRY:
            found = [one for one in found if one[1] not in (name, RUNNERS.ours[name])]
        elif name == "local" and REGISTRY.parent in path.parents:
            found = []  # a detail after a colon, or a mode of what a runner stands on
        assert found == [], path


def test_the_words_of_other_files_name_none() -> None:
    for path in SOURCE.rglob("*"):
        if (
            path.is_file()
            and path.suffix not in (".py", ".pyc")
            and REGISTRY.parent not in path.parents
        ):
            text = path.read_text(encoding="utf-8", errors="ignore")
            assert not re.search(r"\b(slurm|flyte)\b", text), path


@pytest.mark.parametrize("name", RUNNERS.ours)
def test_a_kind_says_who_it_is(name: str) -> None:
    kind = RUNNERS.get(name)
    assert isinstance(kind, RunnerKind)
    assert kind.name == name
    assert kind.on in on_help()


def test_a_runner_from_outside_is_used_like_ours(
    nice: Path, tmp_path: Path, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "nice or nice:LEVEL" in on_help()
    assert "nice-load" in command("doctor", "--json").out
    assert "Say how busy this machine is." in command("--help").out
    assert "A number far above" in command("load", "--help").out
    assert "processes want to run" in command("load").out

    job = tickets.write_job(tmp_path / "job")
    told = command("run", job, "--on", "nice:3", "--dry-run")
    assert told.out.startswith("nice -n 3 ")
    told = command("prepare", job, "--on", "nice:3", "--runs", tmp_path, "--name", "r", "--quiet")
    assert told.code == 0, told.err
    assert '"runner": "nice:3"' in (tmp_path / "r" / "events.jsonl").read_text()
    assert command("logs", tmp_path / "r", "prepare").code == 0

    told = command("run", job, "--on", "nice:much", "--dry-run")
    assert (told.code, "number from 0 to 19" in told.err) == (2, True)


def test_status_and_stop_find_a_runner_from_outside(
    nice: Path, tmp_path: Path, command: Callable[..., Answer]
) -> None:
    run = make_run(tmp_path / "run", counting(60, 0.05))
    with drive("nice", run) as worker:
        tickets.wait_until(lambda: (run.path / "steps/train/work/checkpoint").exists())
        assert command("status", run.path).out.startswith(f"{run.path}: running")
        assert command("stop", run.path).code == 0
        assert worker.wait() != 0
    assert run_state(run).state == "stopped"
    get_runner("nice").run(run, run.plan.steps, lambda: None)
    assert (run.path / "model" / "weights").read_text() == counted(60)


def test_a_runner_that_cannot_be_loaded_is_told_and_harms_no_other(
    nice: Path, tmp_path: Path, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    (nice / "deepsynth_nice" / "__init__.py").write_text("import nothing_of_that_name\n")
    for name in [name for name in sys.modules if name.startswith("deepsynth_nice")]:
        monkeypatch.delitem(sys.modules, name)
    (broken,) = [found for found in doctor() if found.severity is Severity.ERROR]
    assert "nothing_of_that_name" in broken.what
    assert "pip uninstall deepsynth-nice" in broken.fix
    with pytest.raises(MissingDependency, match="nice cannot be loaded"):
        get_runner("nice")
    assert command("--help").code == 0
    assert get_runner().here


def test_a_run_of_a_runner_that_is_not_here_is_told(
    tmp_path: Path, command: Callable[..., Answer]
) -> None:
    run = make_run(tmp_path / "run", counting(1))
    run.begin("moon:base")
    told = command("status", run.path)
    assert told.code == 2
    assert "moon" in told.err
