from __future__ import annotations

from pathlib import Path

import pytest

from deepsynth import durable
from deepsynth.run import receipts
from deepsynth.run.run import Run
from deepsynth.run.step import Step
from tests.support.toy import make_run, shell


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.csv"
    path.write_text("text\n")
    return path


@pytest.fixture
def step(source: Path) -> Step:
    return shell(
        "first",
        "true",
        sources={"data": str(source)},
        inputs=["in"],
        outputs=["out"],
        settings={"rate": 1},
    )


@pytest.fixture
def run(tmp_path: Path, step: Step) -> Run:
    run = make_run(tmp_path / "run", step)
    for name in ("in", "out"):
        (run.path / name).mkdir()
        (run.path / name / "file").write_text(name)
    (run.path / "steps" / "first").mkdir()
    return run


def test_the_key_is_of_the_work_not_of_where_it_lies(run: Run, step: Step, tmp_path: Path) -> None:
    key = receipts.step_key(run, step)
    elsewhere = run.path.rename(tmp_path / "moved")
    staged = elsewhere / "sources" / "data"
    staged.mkdir(parents=True)
    (tmp_path / "a.csv").rename(staged / "a.csv")
    assert receipts.step_key(Run(elsewhere), step) == key


def test_the_key_changes_with_all_that_decides_the_work(run: Run, step: Step, source: Path) -> None:
    keys = [receipts.step_key(run, step)]
    changes = ({"settings": {"rate": 2}}, {"argv": ["false"]}, {"array": 2})
    keys += [receipts.step_key(run, step.model_copy(update=change)) for change in changes]
    source.write_text("text!\n")
    keys.append(receipts.step_key(run, step))
    (run.path / "in" / "file").write_text("IN")
    keys.append(receipts.step_key(run, step))
    (run.path / "in" / "file").rename(run.path / "in" / "other")
    keys.append(receipts.step_key(run, step))
    assert len(set(keys)) == len(keys)


def test_a_receipt_holds_while_key_and_outputs_do(run: Run, step: Step) -> None:
    key = receipts.step_key(run, step)
    assert not receipts.is_done(run, step, key)
    assert not receipts.has_receipt(run, step)
    receipts.write_receipt(run, step, key, started=0.0)
    assert receipts.is_done(run, step, key)
    assert receipts.has_receipt(run, step)
    assert not receipts.is_done(run, step, "other")
    file = run.path / "out" / "file"
    file.write_text("out")
    assert receipts.is_done(run, step, key)
    file.write_text("OUT")
    assert not receipts.is_done(run, step, key)
    file.write_text("out")
    (run.path / "out" / "more").write_text("")
    assert not receipts.is_done(run, step, key)
    (run.path / "out" / "more").unlink()
    file.unlink()
    assert not receipts.is_done(run, step, key)


def test_a_receipt_cut_short_proves_nothing(run: Run, step: Step) -> None:
    key = receipts.step_key(run, step)
    receipts.write_receipt(run, step, key, started=0.0)
    path = receipts.receipt_path(run, step)
    path.write_bytes(path.read_bytes()[:-20])
    assert not receipts.is_done(run, step, key)


def test_each_element_of_an_array_has_its_own_receipt(run: Run) -> None:
    step = shell("first", "true", outputs=["shard-{index}"], array=2)
    (run.path / "shard-1").write_text("one")
    key = receipts.key_of(step, {}, {})
    receipts.write_receipt(run, step, key, started=0.0, index=1)
    assert receipts.is_done(run, step, key, 1)
    assert not receipts.has_receipt(run, step)
    written = durable.read_json(run.path / "steps" / "first" / "receipt-00001.json")
    assert list(written["outputs"]) == ["shard-1"]


def test_what_is_done_again_says_why(
    run: Run, step: Step, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert receipts.why_redone(run, step, receipts.step_key(run, step)) == ""
    receipts.write_receipt(run, step, receipts.step_key(run, step), 0.0)

    def why(**changes: object) -> str:
        changed = step.model_copy(update=changes)
        return receipts.why_redone(run, changed, receipts.step_key(run, changed))

    assert "rate is 2, and was 1" in why(settings={"rate": 2})
    assert "new is 'x', and was None" in why(settings={"rate": 1, "new": "x"})
    renamed = why(argv=[*step.argv[:-1], "false"])
    assert "its command is" in renamed
    assert "false`, and was" in renamed
    source.write_text("text!\n")
    assert why() == "data changed"
    source.write_text("text\n")
    (run.path / "in" / "file").write_text("IN")
    assert why() == "in changed"
    (run.path / "in" / "file").write_text("in")
    (run.path / "out" / "file").write_text("changed by hand")
    assert "out" in why() or "not as it was written" in why()
    monkeypatch.setattr(receipts, "__version__", "9.9")
    assert why().startswith("it was done by DeepSynth ")


def test_a_receipt_of_an_earlier_version_is_explained_too(run: Run, step: Step) -> None:
    path = receipts.receipt_path(run, step)
    durable.write_json(path, {"key": "0" * 64, "deepsynth": "0.1.0", "outputs": {}})
    assert "DeepSynth 0.1.0" in receipts.why_redone(run, step, receipts.step_key(run, step))
    durable.write_json(path, ["not", "ours"])
    assert receipts.why_redone(run, step, receipts.step_key(run, step)) == ""
