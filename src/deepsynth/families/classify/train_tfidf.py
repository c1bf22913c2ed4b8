"""The training of a linear model on words: `model: tfidf`."""

from __future__ import annotations

import shutil

import numpy as np

from deepsynth import durable
from deepsynth.evaluation.tfidf import Tfidf
from deepsynth.families.classify.inference import SETTINGS
from deepsynth.families.classify.job import ClassifyJob
from deepsynth.families.classify.linear import choose_linear, fit_linear
from deepsynth.families.classify.metrics import scores
from deepsynth.families.classify.prepared import model_folder, read_labels, read_split
from deepsynth.families.classify.tfidf import TfidfClassifier
from deepsynth.families.classify.trainer import class_weights
from deepsynth.run.run import Run
from deepsynth.training.fitting import keep_curve


def train_tfidf(run: Run, job: ClassifyJob) -> None:
    """Fit the linear model on words."""
    labels = read_labels(run)
    train, validation, test = (read_split(run, name) for name in ("train", "validation", "test"))
    weigh = Tfidf.learn(train.texts)
    known, block = np.asarray(train.labels), weigh(train.texts)
    weights = class_weights(job, train.labels, len(labels))
    linear, reached = choose_linear(
        lambda strength, start: fit_linear(
            [block], known, len(labels), strength=strength, class_weights=weights, start=start
        ),
        [weigh(validation.texts)],
        lambda found: scores(validation.labels, found.tolist())["macro_f1"],
    )
    model = TfidfClassifier(weigh, linear)
    how = {
        "family": "classify",
        "base_model": "tfidf",
        "fresh_weights": False,
        "labels": labels,
        "max_length": None,
        "method": "tfidf",
        "why": "asked for by model",
        "best_update": 0,
        "updates": 0,
        "max_updates": 0,
        "still_rising": False,
        "validation_macro_f1": reached,
    }
    target, folder = model_folder(run), run.path / "training"
    shutil.rmtree(target, ignore_errors=True)
    for made in (target, folder):
        made.mkdir(exist_ok=True)
    model.save(target)
    durable.write_json(target / SETTINGS, how)
    answers = model.probabilities(test.texts).argmax(axis=1)
    durable.write_json(folder / "test_scores.json", scores(test.labels, answers))
    keep_curve(run, folder)
