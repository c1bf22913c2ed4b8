from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepsynth import durable
from deepsynth.errors import StepFailed
from deepsynth.families.classify.evaluate import (
    check_same_score,
    confident_mistakes,
    write_confusion,
)
from deepsynth.families.classify.inference import load_trained, probabilities
from deepsynth.families.classify.job import ClassifyJob
from deepsynth.families.classify.pictures import draw_confusion
from deepsynth.families.classify.prepared import Split, read_labels, read_split
from deepsynth.families.classify.trainer import class_weights
from deepsynth.run.run import Run


def test_a_millionth_of_accuracy_is_the_limit() -> None:
    check_same_score(0.5, 0.5 + 9e-7)
    with pytest.raises(StepFailed, match=r"0\.500002 after loading, 0\.500000 before"):
        check_same_score(0.5, 0.5 + 2e-6)


def test_mistakes_come_surest_first() -> None:
    split = Split(["w", "x", "y", "z"], [0, 0, 1, 1], ["1", "2", "3", "4"], [0, 1, 2, 3])
    scores = np.array([[0.4, 0.6], [0.1, 0.9], [0.2, 0.8], [0.7, 0.3]])
    told = confident_mistakes(split, ["a", "b"], scores, 2)
    assert [(m["text"], m["label"], m["predicted"]) for m in told] == [
        ("x", "a", "b"),
        ("z", "b", "a"),
    ]


def test_a_rare_class_weighs_more() -> None:
    said = {"family": "classify", "data": {"path": "x.csv"}, "model": "scratch:tiny"}
    plain = ClassifyJob.model_validate(said)
    assert class_weights(plain, [0, 0, 0, 1], 3) is None
    balanced = ClassifyJob.model_validate(said | {"train": {"class_weights": "balanced"}})
    found = class_weights(balanced, [0, 0, 0, 1], 3)
    assert found is not None
    weights = found.tolist()
    assert weights[:2] == pytest.approx([4 / 9, 4 / 3])
    assert sum(weights[label] for label in (0, 0, 0, 1)) / 4 == pytest.approx(2 / 3)


def test_what_a_run_leaves_agrees_with_itself(finished: Path) -> None:
    run = Run(finished)
    labels, test = read_labels(run), read_split(run, "test")
    final = run.final_metrics() or {}
    assert final["test_rows"] == len(test)
    assert final["accuracy"] > final["baselines"]["majority"]["accuracy"]
    assert final["model"]["fresh_weights"] is True
    with (finished / "evaluation" / "confusion_matrix.csv").open(newline="") as stream:
        head, *rows = list(csv.reader(stream))
    assert head[1:] == labels
    matrix = np.array([row[1:] for row in rows], dtype=int)
    assert matrix.sum() == len(test)
    assert matrix.trace() / matrix.sum() == pytest.approx(final["accuracy"])
    with (finished / "evaluation" / "predictions.csv").open(newline="") as stream:
        predicted = list(csv.DictReader(stream))
    assert [row["text"] for row in predicted] == test.texts
    hits = sum(row["label"] == row["predicted"] for row in predicted)
    assert hits / len(test) == pytest.approx(final["accuracy"])
    with Image.open(finished / "evaluation" / "confusion_matrix.png") as picture:
        assert min(picture.size) > 300


def test_the_report_names_what_a_manager_asks(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    final = Run(finished).final_metrics() or {}
    assert f"{final['accuracy']:.1%}" in page or f"{final['accuracy']:.3f}" in page
    assert "fresh weights" in page
    assert page.count("data:image/png;base64,") == 1
    assert "<polyline" in page
    for label in ("complaint", "request", "comment"):
        assert label in page


def test_the_model_is_reloaded_to_the_same_probabilities_in_any_batch(finished: Path) -> None:
    model, tokenizer, settings = load_trained(finished / "model")
    texts = read_split(Run(finished), "test").texts
    whole = probabilities(model, tokenizer, texts, max_length=settings["max_length"])
    single = probabilities(model, tokenizer, texts, max_length=settings["max_length"], batch_size=1)
    np.testing.assert_allclose(whole, single, atol=1e-5)
    np.testing.assert_allclose(whole.sum(axis=1), 1)
    stored = durable.read_json(finished / "training" / "test_scores.json")
    truth = read_split(Run(finished), "test").labels
    assert (whole.argmax(axis=1) == truth).mean() == pytest.approx(stored["accuracy"])


def test_the_model_kept_is_the_one_with_the_best_macro_f1(finished: Path) -> None:
    points = [m for m in Run(finished).metrics() if "eval_macro_f1" in m]
    how = durable.read_json(finished / "model" / "deepsynth.json")
    best = max(point["eval_macro_f1"] for point in points)
    assert how["validation_macro_f1"] == best
    first = next(point["update"] for point in points if point["eval_macro_f1"] == best)
    assert how["best_update"] == first
    assert how["labels"] == ["comment", "complaint", "request"]


def test_labels_that_look_like_formulas_are_drawn_and_written_as_they_are(tmp_path: Path) -> None:
    labels = ["$\\alpha", "$x^$", "=1+1"]
    matrix = np.eye(3, dtype=int)
    draw_confusion(tmp_path / "picture.png", matrix, labels)
    with Image.open(tmp_path / "picture.png") as picture:
        assert min(picture.size) > 300
    write_confusion(tmp_path / "matrix.csv", matrix, labels)
    with (tmp_path / "matrix.csv").open(newline="") as stream:
        head, *rows = csv.reader(stream)
    assert head[1:] == ["$\\alpha", "$x^$", "'=1+1"]
    assert rows[2] == ["'=1+1", "0", "0", "1"]
