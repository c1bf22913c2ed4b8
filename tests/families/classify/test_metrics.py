from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support
from sklearn.svm import LinearSVC

from deepsynth.families.classify.baselines import majority, words
from deepsynth.families.classify.metrics import confusion, difference, doubt, figures, scores
from deepsynth.families.classify.prepared import Split
from tests.support.tickets import tickets

LABELS = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def answers() -> tuple[list[int], list[int]]:
    generator = np.random.default_rng(0)
    truth = generator.choice(3, 200, p=[0.6, 0.3, 0.1])
    predicted = np.where(generator.random(200) < 0.7, truth, generator.choice(3, 200))
    return truth.tolist(), predicted.tolist()


def test_figures_are_those_of_scikit_learn(answers: tuple[list[int], list[int]]) -> None:
    truth, predicted = answers
    found = figures(truth, predicted, LABELS, {}, samples=100, seed=1)
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert scores(truth, predicted) == {key: found[key] for key in ("accuracy", "macro_f1")}
    rows = precision_recall_fscore_support(truth, predicted, labels=range(4), zero_division=0)
    for index, label in enumerate(LABELS):
        own = found["classes"][label]
        told = [own["precision"], own["recall"], own["f1"], own["support"]]
        assert told == pytest.approx([row[index] for row in rows])
    low, high = found["macro_f1_interval"]
    assert low < found["macro_f1"] < high
    assert figures(truth, predicted, LABELS, {}, samples=100, seed=1) == found


def split(labels: list[int], texts: list[str] | None = None) -> Split:
    texts = texts or [f"text {n}" for n in range(len(labels))]
    return Split(texts, labels, texts, list(range(len(labels))))


def test_the_baseline_is_the_majority_of_training_not_of_test() -> None:
    what, answers = majority(split([1, 1, 0]), LABELS[:2], split([0, 0, 0, 1]))
    assert what == "always 'b', the most frequent label"
    assert answers == [1] * 4


def test_the_linear_model_on_words_is_about_what_scikit_learn_has() -> None:
    rows = tickets(240, seed=2)
    names = sorted({label for _, label in rows})
    whole = split([names.index(label) for _, label in rows], [text for text, _ in rows])
    train = split(whole.labels[:160], whole.texts[:160])
    test = split(whole.labels[160:], whole.texts[160:])
    _, answers = words(train, names, test, seed=0)
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    theirs = LinearSVC().fit(vectors.fit_transform(train.texts), train.labels)
    found = theirs.predict(vectors.transform(test.texts))
    truth = np.array(test.labels)
    assert (answers == truth).mean() >= (found == truth).mean() - 0.05
    assert (answers == truth).mean() > 0.9


def test_a_difference_is_of_the_same_texts_and_may_not_be_shown() -> None:
    generator = np.random.default_rng(4)
    truth = np.repeat(np.arange(4), 40)
    ours = np.where(generator.random(160) < 0.8, truth, (truth + 1) % 4)
    alike = np.where(generator.random(160) < 0.8, truth, (truth + 1) % 4)
    worse = np.where(generator.random(160) < 0.4, truth, (truth + 1) % 4)
    told = figures(
        truth.tolist(),
        ours.tolist(),
        LABELS,
        {"tfidf": ("words", alike.tolist()), "majority": ("always 'a'", worse.tolist())},
        samples=200,
        seed=1,
    )
    low, high = told["baselines"]["tfidf"]["difference_interval"]
    assert low < 0 < high
    assert told["baselines"]["majority"]["difference_interval"][0] > 0
    told["model"] = {"fresh_weights": True}
    assert "words" in (doubt(told) or "")
    assert "always" not in (doubt(told) or "")
    del told["baselines"]["tfidf"]
    assert doubt(told) is None


def test_an_interval_without_width_is_none() -> None:
    told = figures([0, 0, 1, 1], [0, 0, 1, 1], LABELS[:2], {}, samples=100, seed=1)
    assert told["macro_f1_interval"] is None
    assert told["classes"]["a"]["f1_interval"] is None
    beaten = {"majority": ("always 'a'", [0] * 4), "tfidf": ("words", [0, 0, 1, 1])}
    told = figures([0, 0, 1, 1], [0, 0, 1, 1], LABELS[:2], beaten, samples=100, seed=1)
    told["model"] = {"fresh_weights": True}
    assert difference(told["baselines"]["majority"]).is_gain
    assert "+0.000" in (doubt(told) or "")


def test_the_true_label_is_the_row() -> None:
    matrix = confusion([0, 0, 1], [1, 1, 1], 2)
    np.testing.assert_array_equal(matrix, [[0, 2], [0, 1]])
