"""Faults planted in data, model or evaluation: what a user reads first says them."""

from __future__ import annotations

import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from deepsynth.checks import Severity
from deepsynth.checks.report import read_findings
from deepsynth.errors import DataError, StepFailed
from deepsynth.families import get_family
from deepsynth.families.summarize import card_of, check, evaluate, judge, train
from deepsynth.families.summarize.job import SummarizeJob
from deepsynth.families.summarize.metrics import score
from deepsynth.families.summarize.prepared import exported, load_adapted, read_samples
from deepsynth.families.summarize.verdict import (
    UNTRAINED,
    Answers,
    judge_experts,
    judge_figures,
)
from deepsynth.run.run import Run
from tests.families.summarize.test_bad_input import make_run, rows

Patch = pytest.MonkeyPatch


def trained(folder: Path, documents: list[dict[str, Any]], epochs: float) -> Run:
    settings = {
        "preset": "balanced",
        "epochs": epochs,
        "batch_size": 4,
        "gradient_accumulation": 1,
        "learning_rate": 0.01,
        "evaluations": 1,
        "cache_dir": str(folder / "cache"),
    }
    run = make_run(
        folder,
        documents,
        train=settings,
        evaluation={"split": "train", "gallery": 0, "bootstrap_samples": 100},
        export={"merged": False},
    )
    train.main(run)
    return run


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Eight pages known by heart."""
    return trained(tmp_path_factory.mktemp("learned"), rows(8), 60)


@pytest.fixture
def run(learned: Run, tmp_path: Path) -> Run:
    """A copy of it, not yet evaluated."""
    shutil.copytree(learned.path.parent / "pages", tmp_path / "pages")
    shutil.copytree(learned.path, tmp_path / "run")
    return Run.open(tmp_path / "run")


def evaluated(run: Run) -> tuple[dict[str, Any], list[str]]:
    """Final figures, and the lines that a person sees."""
    evaluate.main(run)
    final = run.final_metrics() or {}
    return final, get_family("summarize").headline(final)


def codes(final: dict[str, Any]) -> dict[str, str]:
    return {finding["code"]: finding["severity"] for finding in final["findings"]}


def test_a_model_that_reads_its_pages_beats_what_does_not(run: Run) -> None:
    final, lines = evaluated(run)
    assert final["rougeL"] > 0.9
    assert codes(final) == {}
    assert lines[0].startswith("ROUGE-L")
    assert "95 % interval 1.000-1.000" not in lines[0]
    kinds = {entry["what"].rpartition(" ")[2]: entry for entry in final["baselines"]}
    wanted = {"sentences", "summary", "text", "training", "pages", "document"}
    assert wanted == kinds.keys()
    assert all(entry["beaten"] for entry in kinds.values())
    report = (run.path / "report.html").read_text(encoding="utf-8")
    assert "blank pages" in report
    assert "nearest training text" in card_of(run).beside
    lines = (run.path / "evaluation" / "summaries.jsonl").read_text().splitlines()
    samples = read_samples(run, "evaluate", "train")
    assert [json.loads(line)["row"] for line in lines] == [
        samples.identity(index) for index in range(8)
    ]


@pytest.fixture
def blind(monkeypatch: Patch) -> None:
    """The fault: the output of the vision encoder times zero, whichever way pages take."""
    from transformers.models.deepseek_ocr2 import modeling_deepseek_ocr2 as modeling

    sound = modeling.DeepseekOcr2Model.get_image_features

    @functools.wraps(sound)
    def faulty(self: Any, *args: Any, **named: Any) -> Any:
        found = sound(self, *args, **named)
        found.pooler_output = tuple(torch.zeros_like(one) for one in found.pooler_output)
        return found

    monkeypatch.setattr(modeling.DeepseekOcr2Model, "get_image_features", faulty)


@pytest.mark.usefixtures("blind")
def test_pages_that_do_not_reach_the_model_are_an_error_of_the_check(tmp_path: Path) -> None:
    cache = {"preset": "standard", "cache_dir": str(tmp_path / "cache"), "batch_size": 2}
    run = make_run(tmp_path, rows(4), train=cache, check={"learn": True})
    with pytest.raises(DataError):
        check.main(run)
    found = {f.code: f.severity for f in read_findings(run.path / "checks")}
    assert found["pages-unseen"] is Severity.ERROR
    assert found["levers-exact"] is Severity.INFO, "which says nothing of it"


@pytest.mark.usefixtures("blind")
def test_a_model_that_sees_nothing_is_said_first(tmp_path: Path) -> None:
    final, lines = evaluated(trained(tmp_path, rows(8), 3))
    assert codes(final)["pages-ignored"] == "error"
    assert codes(final)["outputs-alike"] == "error"
    assert lines[0].startswith("Error: The model does not look at the pages")
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert report.index("does not look at the pages") < report.index("ROUGE-L")


@pytest.mark.thorough
def test_one_summary_under_nearly_all_documents_is_beaten_by_saying_it(
    run: Run, monkeypatch: Patch
) -> None:
    """What the model wrote is right, and a constant would have been as good."""
    sound = judge.Judge.__init__

    def faulty(self: judge.Judge, *given: Any) -> None:
        sound(self, *given)
        self.references = [self.references[0]] * len(self.references)

    monkeypatch.setattr(judge.Judge, "__init__", faulty)
    monkeypatch.setattr(evaluate, "best_constant", lambda summaries: summaries[0])
    final, lines = evaluated(run)
    assert codes(final)["not-better"] == "warning"
    assert "best constant" in lines[0]


def test_predictions_that_are_rotated_are_refused(run: Run, monkeypatch: Patch) -> None:
    sound = judge.generate

    def rotated(*given: Any, **named: Any) -> Any:
        found = sound(*given, **named)
        texts = [one.text for one in found]
        return [replace(one, text=t) for one, t in zip(found, texts[1:] + texts[:1], strict=True)]

    monkeypatch.setattr(judge, "generate", rotated)
    with pytest.raises(StepFailed, match="do not belong to the pages"):
        evaluate.main(run)


def test_a_baseline_that_is_the_model_itself_is_refused(run: Run, monkeypatch: Patch) -> None:
    adapter = exported(run)["adapter"]
    monkeypatch.setattr(evaluate, "load_start", lambda r, step: load_adapted(r, step, adapter))
    with pytest.raises(StepFailed, match="not the one that training began with"):
        evaluate.main(run)


def test_documents_that_were_trained_on_are_not_a_test(run: Run, monkeypatch: Patch) -> None:
    samples = read_samples(run, "evaluate", "train")
    monkeypatch.setattr(evaluate, "_evaluated", lambda r, job: (samples, "test"))
    with pytest.raises(StepFailed, match="trained on"):
        evaluate.main(run)


def test_three_documents_give_no_figure_and_what_is_cut_is_counted(
    run: Run, monkeypatch: Patch
) -> None:
    few = read_samples(run, "evaluate", "train").some(3)
    monkeypatch.setattr(evaluate, "_evaluated", lambda r, job: (few, "test"))
    monkeypatch.setattr(evaluate, "require_unseen", lambda *given: None)
    monkeypatch.setattr(judge, "generation_limit", lambda run: 3)
    final, lines = evaluated(run)
    assert codes(final) | {"no-figure": "warning", "outputs-cut": "warning"} == codes(final)
    assert final["ended_rate"] < 0.5
    assert "rougeL" not in final
    assert "No figure is possible: 3 documents" in " ".join(lines)
    assert "interval" not in "".join(lines)


def test_a_baseline_that_wrote_the_very_same_is_said(run: Run) -> None:
    texts = ["one", "two"]
    job = run.job(SummarizeJob)
    figures = score(texts, texts)
    same = Answers(UNTRAINED, texts, texts, texts).compared(figures, job)
    found = judge_figures("train", figures, [same], 1.0, 64)
    assert (found[0].code, found[0].severity) == ("outputs-unchanged", Severity.ERROR)
    other = Answers(UNTRAINED, ["one", ""], texts, texts).compared(figures, job)
    assert judge_figures("train", figures, [other], 1.0, 64) == []


def test_an_expert_that_takes_all_is_said() -> None:
    usage = {"router": "layer 1", "before": [0.25, 0.25, 0.25, 0.25], "after": [0.5, 0.2, 0.2, 0.1]}
    (finding,) = judge_experts([usage])
    assert finding.code == "experts-uneven"
    assert judge_experts([usage | {"after": [0.3, 0.3, 0.3, 0.1]}]) == []


@pytest.mark.thorough
def test_no_texts_no_baseline_from_texts(run: Run, monkeypatch: Patch) -> None:
    monkeypatch.setattr("deepsynth.families.summarize.samples.PageSamples.texts", lambda self: None)
    final, _ = evaluated(run)
    assert not [b for b in final["baselines"] if "sentences" in b["what"] or "text" in b["what"]]
