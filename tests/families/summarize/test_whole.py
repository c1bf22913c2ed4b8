"""From a file of texts to a re-scored summariser, through the command line."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from deepsynth.cli import run_command
from deepsynth.errors import DeepSynthError
from deepsynth.families import get_family
from deepsynth.run.run import Run
from tests.support.folders import places_named
from tests.support.tickets import deepsynth, run_module, start, wait_until

ARTICLES = Path("examples/articles/articles.jsonl").resolve()


def make_job(folder: Path, **train: Any) -> Path:
    lines = ARTICLES.read_text(encoding="utf-8").splitlines()[::9]
    short = [json.loads(line) | {"summary": json.loads(line)["title"]} for line in lines]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "short.jsonl").write_text("\n".join(map(json.dumps, short)), encoding="utf-8")
    job = {
        "family": "summarize",
        "data": {"path": "short.jsonl", "validation_share": 0, "test_share": 0},
        "pages": {"mode": "tile"},
        "model": "scratch:deepseek-ocr-2-tiny",
        "train": {
            "preset": "router_focused",
            "epochs": 60,
            "batch_size": 3,
            "gradient_accumulation": 1,
            "learning_rate": 0.01,
            "cache_dir": str(folder / "cache"),
        }
        | train,
        "evaluation": {"split": "train", "gallery": 2},
    }
    (folder / "job.yaml").write_text(json.dumps(job))
    return folder / "job.yaml"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("whole")
    job = make_job(folder)
    process = deepsynth("run", job, "--runs", folder, "--name", "one", "--quiet")
    assert process.returncode == 0, process.stderr
    return Run.open(folder / "one")


def test_what_was_shown_is_known_by_heart_and_says_that_this_is_all(done: Run) -> None:
    final = done.final_metrics() or {}
    assert final["rougeL"] > 0.9
    assert final["samples"] == 6
    untrained = next(b for b in final["baselines"] if "before" in b["what"])
    assert untrained["rougeL"] < 0.3
    assert any("memorised" in remark for remark in final["remarks"])
    assert any("random weights" in remark for remark in final["remarks"])


def test_adapter_and_merged_model_were_scored_again_in_another_process(done: Run) -> None:
    export = (done.final_metrics() or {})["export"]
    assert export["losses"]["adapter"] == pytest.approx(export["trained_loss"], rel=1e-3)
    assert export["losses"]["merged"] == pytest.approx(export["trained_loss"], rel=1e-3)
    assert export["identical"] == export["samples"] == 6


def test_nothing_exported_or_shown_names_a_folder_of_this_machine(done: Run) -> None:
    for path in [*done.path.glob("model/*/*.json"), done.path / "report.html"]:
        assert str(done.path.parent) not in path.read_text(encoding="utf-8"), path
    assert not list(done.path.glob("model/**/optimizer*"))
    assert places_named(done.path, str(Path(__file__).parents[3])) == []


def test_checks_and_report_say_what_was_looked_at(done: Run) -> None:
    found = json.loads((done.path / "checks" / "findings.json").read_text())
    codes = {finding["code"] for finding in found}
    assert {"page-geometry", "mask", "ledger", "trainable", "memory"} <= codes
    assert {"learn-overfit", "levers-exact", "pages-seen", "adapter-reload"} <= codes
    assert not [finding for finding in found if finding["severity"] == "error"]
    assert "Decoded back" in (done.path / "checks" / "preview.html").read_text(encoding="utf-8")
    report = (done.path / "report.html").read_text(encoding="utf-8")
    assert report.count("data:image/png;base64,") == 2
    assert "<svg" in report
    assert "Which experts are used" in report


def test_the_model_of_a_run_summarises_texts_and_pictures(done: Run, tmp_path: Path) -> None:
    family = get_family("summarize")
    entry = json.loads((done.path.parent / "short.jsonl").read_text().splitlines()[0])
    text = tmp_path / "article.txt"
    text.write_text(entry["text"], encoding="utf-8")
    from deepsynth.pages.render.renderer import Renderer
    from deepsynth.pages.render.settings import PageSettings

    (picture,) = Renderer(PageSettings(mode="tile")).render(entry["text"]).pages
    (tmp_path / "page.png").write_bytes(picture)
    answers = list(family.predict(done, [], [text, tmp_path / "page.png"]))
    assert [answer["summary"] for answer in answers] == [entry["title"]] * 2
    assert entry["title"] in family.show(answers[0])
    (tmp_path / "data.bin").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DeepSynthError, match="neither a picture nor a text file"):
        list(family.predict(done, [], [tmp_path / "data.bin"]))


def test_a_second_run_does_nothing_and_a_tampered_export_is_refused(
    done: Run, tmp_path: Path
) -> None:
    began = time.time()
    assert run_command(["run", "--resume", str(done.path), "--quiet"]) == 0
    skipped = [e for e in done.events() if e["kind"] == "step_skipped" and e["time"] >= began - 1]
    assert len(skipped) == len(done.plan.steps)
    import torch
    from safetensors.torch import load_file, save_file

    from deepsynth.families.summarize.evaluate import main

    copy = tmp_path / "copy"
    shutil.copytree(done.path, copy)
    weights = copy / "model" / "merged" / "model.safetensors"
    tensors = load_file(weights)
    name = next(n for n in tensors if "layers.1.self_attn.o_proj" in n)
    tensors[name] = torch.zeros_like(tensors[name])
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(DeepSynthError, match="exported merged is not the trained model"):
        main(Run.open(copy))


@pytest.mark.slow
def test_a_stopped_training_goes_on_and_ends_the_same(done: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(done.path, copy)
    for made in ("model", "training", "steps/train"):
        shutil.rmtree(copy / made)
    (copy / "metrics.jsonl").unlink()
    again = Run.open(copy)
    train = "deepsynth.families.summarize.train"
    child = start(copy, module=train)
    wait_until(lambda: any(point["update"] >= 30 for point in again.metrics()), 300)
    child.terminate()
    _, said = child.communicate(timeout=120)
    assert child.returncode == 130, said
    assert not (copy / "training").exists()
    ended = run_module(train, copy)
    assert ended.returncode == 0, ended.stderr
    assert [e for e in again.events() if e["kind"] == "resumed"]
    first, second = (
        json.loads((run.path / "training" / "reference.json").read_text())["loss"]
        for run in (done, again)
    )
    assert second == pytest.approx(first, rel=1e-3)
