from __future__ import annotations

import pytest

from deepsynth.families.summarize.metrics import repetition, rouge, score, words

# Figures of the package rouge_score 0.1.2, F-measures without stemming.
REFERENCE = [
    ("the cat sat on the mat", "the cat lay on a mat", (0.666667, 0.2, 0.666667)),
    ("police killed the gunman", "the gunman police killed", (1.0, 0.666667, 0.5)),
    (
        "seven ships left at dawn with grain and grain",
        "at dawn seven ships carried grain",
        (0.666667, 0.307692, 0.4),
    ),
]


@pytest.mark.parametrize(("reference", "prediction", "expected"), REFERENCE)
def test_rouge_is_that_of_the_usual_package_on_plain_english(
    reference: str, prediction: str, expected: tuple[float, float, float]
) -> None:
    found = rouge(prediction, reference)
    assert (found["rouge1"], found["rouge2"], found["rougeL"]) == pytest.approx(expected, abs=1e-6)


def test_words_keep_their_accents_and_other_scripts() -> None:
    assert words("L’été, à Guérande: 30 %") == ["l", "été", "à", "guérande", "30"]
    assert words("مرحبا بالعالم") == ["مرحبا", "بالعالم"]
    assert words("東京タワー") == list("東京タワー")
    assert rouge("東京タワー", "東京駅")["rouge1"] == pytest.approx(0.5)


def test_nothing_written_scores_nothing() -> None:
    assert rouge("", "a summary") == {"rouge1": 0, "rouge2": 0, "rougeL": 0}
    found = score(["", "a b c"] * 4, ["a b c", "a b c"] * 4, resamples=200)
    assert found["empty_rate"] == 0.5
    assert found["rougeL"] == 0.5
    assert found["length_ratio"] == 0.5
    assert 0 <= found["rougeL_low"] < 0.5 < found["rougeL_high"] <= 1
    assert found["distinct"] == 2
    assert score(["a"], ["a"])["rougeL_low"] is None


def test_intervals_hold_the_mean_and_repeat_with_the_seed() -> None:
    predictions = [text for _, text, _ in REFERENCE] * 5
    references = [text for text, _, _ in REFERENCE] * 5
    first = score(predictions, references, seed=3)
    assert first["rouge2_low"] <= first["rouge2"] <= first["rouge2_high"]
    assert first == score(predictions, references, seed=3)
    assert first != score(predictions, references, seed=4)


def test_repetition_counts_trigrams_seen_before() -> None:
    assert repetition("one two three four five") == 0
    assert repetition("go on and on and on and on and on") > 0.5
    assert repetition("short") == 0


def test_accents_and_vowels_that_are_marks_belong_to_their_words() -> None:
    composed, apart = "un caf\u00e9 serré", "un cafe\u0301 serre\u0301"
    assert words(composed) == words(apart) == ["un", "café", "serré"]
    assert rouge(composed, apart)["rougeL"] == 1
    assert words("हिन्दी में") == ["हिन्दी", "में"]
    assert rouge("की", "का")["rouge1"] == 0
    assert words("می\u200cخواهم") == ["میخواهم"]
