"""A family says everything about itself: outside of its folder nobody writes its name."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

import deepsynth
from deepsynth.checks import Severity
from deepsynth.cli import every_verb
from deepsynth.errors import MissingDependency
from deepsynth.families import FAMILIES, doctor, get_family
from deepsynth.run.run import Run
from deepsynth.run.status import run_state
from tests.conftest import Answer
from tests.support import tickets
from tests.support.outside import install
from tests.support.source import texts

SOURCE = Path(deepsynth.__file__).parent
REGISTRY = SOURCE / "families" / "__init__.py"
GUIDE = SOURCE / "training" / "__init__.py"
"""`from deepsynth.training import create_trainer` is where the guide says it is."""


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of docs/adding-a-family.md, installed in a folder of its own."""
    folder = install("adding-a-family.md", tmp_path / "packages")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


@pytest.mark.parametrize("name", FAMILIES.ours)
def test_nobody_else_writes_the_name_of_a_family(name: str) -> None:
    own = SOURCE / "families" / name
    allowed = {REGISTRY: {name, FAMILIES.ours[name]}, GUIDE: {"deepsynth.families.summarize."}}
    for path in SOURCE.rglob("*.py"):
        if own not in path.parents:
            found = [(line, text) for line, text in texts(path) if re.search(rf"\b{name}\b", text)]
            assert [one for one in found if one[1] not in allowed.get(path, ())] == [], path


def test_the_words_of_other_files_name_none() -> None:
    names = "|".join(FAMILIES.ours)
    for path in SOURCE.rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc") and "families" not in path.parts:
            text = path.read_text(encoding="utf-8", errors="ignore")
            assert not re.search(rf"\b({names})\b", text), path


def test_the_list_of_verbs_says_what_each_verb_says_itself() -> None:
    for verb in every_verb():
        module, _, attribute = verb.path.partition(":")
        found = getattr(import_module(module), attribute)
        help_text = inspect.getdoc(found) if inspect.isfunction(found) else found.help
        assert verb.summary == (help_text or "").splitlines()[0], verb.path


def test_a_family_from_outside_is_used_like_ours(
    words: Path, tmp_path: Path, command: Callable[..., Answer]
) -> None:
    folder = tmp_path / "tickets"
    assert command("init", "words", folder).code == 0
    tickets.write_csv(folder / "tickets.csv", tickets.tickets())
    job = folder / "job.yaml"
    told = command("check", job, "--json")
    assert (told.code, json.loads(told.out)[0]["what"]) == (
        0,
        "60 texts to learn from, 3 labels.",
    ), told.err

    told = command("run", job, "--runs", tmp_path, "--name", "first", "--quiet")
    assert told.code == 0, told.err
    run = Run(tmp_path / "first")
    final = run.final_metrics() or {}
    assert told.out.startswith(f"accuracy {final['accuracy']:.3f} on 15 texts")
    assert final["accuracy"] > 0.8
    assert "how words vote" in (run.path / "report.html").read_text()
    assert run.settings["train.least"].why == "75 texts: rare words say little in many"
    assert run_state(run).state == "done"

    told = command("predict", run.path, "--text", "broken angry refund", "--json")
    assert json.loads(told.out)["label"] == "complaint"
    assert command("votes", run.path, "refund").out.strip() == "complaint"
    assert "Show how a word votes." in command("--help").out
    assert command("compare", run.path, run.path).code == 0


def test_a_wrong_job_of_a_family_from_outside_is_told_like_ours(
    words: Path, tmp_path: Path, command: Callable[..., Answer]
) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("family: words\ndata: {path: x.csv}\ntrain: {lest: 2}\n")
    told = command("check", job)
    assert (told.code, "job.yaml:3: train.lest" in told.err) == (2, True)
    assert "Did you mean least?" in told.err
    told = command("init", "wrds", tmp_path / "new")
    assert (told.code, "Did you mean words?" in told.err) == (2, True)


def test_a_family_that_cannot_be_loaded_is_told_and_harms_no_other(
    words: Path, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    (words / "deepsynth_words" / "__init__.py").write_text("import nothing_of_that_name\n")
    for name in [name for name in sys.modules if name.startswith("deepsynth_words")]:
        monkeypatch.delitem(sys.modules, name)
    (broken,) = [found for found in doctor() if found.severity is Severity.ERROR]
    assert "nothing_of_that_name" in broken.what
    assert "pip uninstall deepsynth-words" in broken.fix
    with pytest.raises(MissingDependency, match="words cannot be loaded"):
        get_family("words")
    assert command("--help").code == 0


def test_a_run_of_a_family_that_is_not_here_is_told(
    copied: Path, command: Callable[..., Answer]
) -> None:
    resolved = copied / "resolved.yaml"
    resolved.write_text(resolved.read_text().replace("value: classify", "value: moon", 1))
    told = command("predict", copied, "--text", "x")
    assert told.code == 2
    assert "moon" in told.err
