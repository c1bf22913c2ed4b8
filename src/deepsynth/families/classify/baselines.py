"""What a classifier must beat: no model, a linear model on words, and the encoder as it came."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepsynth.families.classify.prepared import Split

MOST_TEXTS = 20_000
"""Training texts of the linear model on words, drawn evenly from more."""


def majority(train: Split, labels: Sequence[str], test: Split) -> tuple[str, list[int]]:
    """Always the most frequent label: what it is, and its answers for the test split."""
    most = int(np.bincount(train.labels, minlength=len(labels)).argmax())
    return f"always {labels[most]!r}, the most frequent label", [most] * len(test)


def words(train: Split, labels: Sequence[str], test: Split, seed: int) -> tuple[str, list[int]]:
    """TF-IDF of words and pieces of words with a linear model: what it is, and its answers."""
    from deepsynth.evaluation.tfidf import Tfidf
    from deepsynth.families.classify.linear import USUAL, fit_linear, predict_linear

    rows = np.arange(len(train))
    if len(rows) > MOST_TEXTS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_TEXTS, replace=False))
    texts = [train.texts[row] for row in rows]
    weigh = Tfidf.learn(texts)
    known = np.asarray(train.labels)[rows]
    linear = fit_linear([weigh(texts)], known, len(labels), strength=USUAL)
    what = "a linear model on the TF-IDF of words"
    if len(rows) < len(train):
        what += f", of {len(rows):,} training texts"
    return what, predict_linear(linear, [weigh(test.texts)]).tolist()
