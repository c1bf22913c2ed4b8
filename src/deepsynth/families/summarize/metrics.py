"""How good summaries are: ROUGE with intervals, length, repetition, empty outputs.

ROUGE here is the F-measure of Lin (2004). The usual package `rouge_score` throws away every
character outside a-z and 0-9, which cuts French words at their accents and leaves nothing of
Arabic or Chinese; words here are Unicode words, and scripts written without spaces are compared
character by character. On plain English without stemming both agree.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

ROUGE = ("rouge1", "rouge2", "rougeL")
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_JOINERS = {0x200C: None, 0x200D: None}


@functools.cache
def _word() -> re.Pattern[str]:
    """A word: letters and digits, each with the marks on it, which Python's own words leave out.

    Vowels of Hindi are such marks, and accents that no single character has.
    """
    marks = [
        chr(code) for code in range(0x300, 0x1F000) if unicodedata.category(chr(code))[0] == "M"
    ]
    own = "".join(mark for mark in marks if not re.match(f"[{_UNSPACED}]", mark))
    return re.compile(rf"[{_UNSPACED}]|(?:[^\W{_UNSPACED}][{own}]*)+")


def words(text: str) -> list[str]:
    """The words of a text as ROUGE compares them: NFC, lower case, without punctuation."""
    plain = unicodedata.normalize("NFC", text.lower()).translate(_JOINERS)
    return _word().findall(plain)


def rouge(prediction: str, reference: str) -> dict[str, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L of one summary, F-measures between 0 and 1."""
    from rapidfuzz.distance import LCSseq

    ours, theirs = words(prediction), words(reference)
    longest = LCSseq.similarity(ours, theirs) if ours and theirs else 0
    return {
        "rouge1": _overlap(ours, theirs, 1),
        "rouge2": _overlap(ours, theirs, 2),
        "rougeL": _f_measure(longest, len(ours), len(theirs)),
    }


def rouge_l(predictions: Sequence[str], references: Sequence[str]) -> list[float]:
    """ROUGE-L of each summary."""
    return [rouge(p, r)["rougeL"] for p, r in zip(predictions, references, strict=True)]


def repetition(text: str, n: int = 3) -> float:
    """Share of the word trigrams that occurred before in the same text; 0 for short texts."""
    grams = _ngrams(words(text), n)
    total = sum(grams.values())
    return 1 - len(grams) / total if total else 0.0


def score(
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Score many summaries.

    Args:
        predictions: What the model wrote.
        references: What it should have written, in the same order.
        resamples: Bootstrap resamples behind the 95 % intervals.
        seed: Of the resampling.

    Returns:
        `rouge1`, `rouge2`, `rougeL` with `..._low` and `..._high` (None for fewer summaries than
        an interval takes), `length_ratio` (words of all predictions by words of all references),
        `repetition_rate` (mean share of repeated trigrams), `empty_rate`, `distinct` (different
        summaries among them), `samples`.
    """
    import numpy as np

    from deepsynth.evaluation.comparison import FEWEST
    from deepsynth.evaluation.intervals import bootstrap_intervals

    count = len(references)
    rows = [rouge(p, r) for p, r in zip(predictions, references, strict=True)]
    result: dict[str, Any] = {"samples": count}
    values = np.array([[row[name] for row in rows] for name in ROUGE])
    ends = (
        bootstrap_intervals(
            lambda drawn: values[:, drawn].mean(axis=1), count, samples=resamples, seed=seed
        )
        if count >= FEWEST
        else [(None, None)] * len(ROUGE)
    )
    for name, row, (low, high) in zip(ROUGE, values, ends, strict=True):
        result[name] = round(float(row.mean()), 5) if count else 0.0
        result[f"{name}_low"] = None if low is None else round(float(low), 5)
        result[f"{name}_high"] = None if high is None else round(float(high), 5)
    ours, theirs = (sum(len(words(text)) for text in texts) for texts in (predictions, references))
    result["length_ratio"] = round(ours / theirs, 4) if theirs else 0.0
    result["repetition_rate"] = round(sum(map(repetition, predictions)) / max(1, count), 4)
    result["empty_rate"] = round(sum(not words(p) for p in predictions) / max(1, count), 4)
    result["distinct"] = len({" ".join(words(text)) for text in predictions})
    return result


def _overlap(ours: list[str], theirs: list[str], n: int) -> float:
    a, b = _ngrams(ours, n), _ngrams(theirs, n)
    return _f_measure((a & b).total(), a.total(), b.total())


def _ngrams(tokens: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def _f_measure(common: int, ours: int, theirs: int) -> float:
    return 2 * common / (ours + theirs) if common else 0.0
