"""Character and word error rates, computed here because versions of Kraken disagree on them.

CER is the Levenshtein distance between transcription and prediction over the characters of the
transcription, summed over all lines (so that long lines weigh more); WER is the same for words
split at white space. Both can exceed 1. Text is compared in NFC with white space collapsed.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from deepsynth.evaluation.intervals import bootstrap_intervals
from deepsynth.families.htr.ground_truth.alphabet import normalize

Fold = Callable[[str], str]
"""A way to make texts more alike before they are compared."""


def without_case(text: str) -> str:
    """Text in one case."""
    return text.casefold()


def without_punctuation(text: str) -> str:
    """Text without punctuation and symbols, white space collapsed."""
    kept = "".join(c for c in text if unicodedata.category(c)[0] not in "PS")
    return " ".join(kept.split())


def without_accents(text: str) -> str:
    """Text without combining marks."""
    decomposed = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(c for c in decomposed if not _is_mark(c)))


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) == "Mn"


VARIANTS: dict[str, Fold] = {
    "as written": lambda text: text,
    "without case": without_case,
    "without punctuation": without_punctuation,
    "without accents": without_accents,
    "without all three": lambda text: without_accents(without_punctuation(without_case(text))),
}


@dataclass(frozen=True, slots=True)
class ScoredLine:
    """One test line.

    Attributes:
        page: Name of its page.
        line: Its id.
        truth: Transcription, as compared.
        prediction: What the model read, as compared.
        errors: Character errors.
        word_errors: Word errors.
    """

    page: str
    line: str
    truth: str
    prediction: str
    errors: int
    word_errors: int

    @property
    def characters(self) -> int:
        """Characters of the transcription."""
        return len(self.truth)

    @property
    def words(self) -> int:
        """Words of the transcription."""
        return len(self.truth.split())

    @property
    def cer(self) -> float:
        """Character error rate of this line."""
        return self.errors / max(1, self.characters)


def comparable(text: str, form: str) -> str:
    """Text as it is compared: in the form the model was trained in, then NFC, spaces collapsed."""
    return " ".join(normalize(normalize(text, form), "NFC").split())


def score_line(page: str, line: str, truth: str, prediction: str) -> ScoredLine:
    """Count the errors of one line; both texts must already be `comparable`."""
    return ScoredLine(
        page,
        line,
        truth,
        prediction,
        Levenshtein.distance(truth, prediction),
        Levenshtein.distance(truth.split(), prediction.split()),
    )


def rates(lines: Sequence[ScoredLine]) -> tuple[float, float]:
    """CER and WER over all lines together."""
    characters = sum(line.characters for line in lines)
    words = sum(line.words for line in lines)
    return (
        sum(line.errors for line in lines) / max(1, characters),
        sum(line.word_errors for line in lines) / max(1, words),
    )


def figures(
    lines: Sequence[ScoredLine],
    base: Sequence[ScoredLine] | None = None,
    *,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Rates of a model, with 95 % intervals over whole pages drawn with replacement.

    Lines of one page share a hand, a scan and a scribe's mood; drawing lines would make the
    interval too narrow. With a single page there is no interval.

    Args:
        lines: The model's lines.
        base: The base model's on the same lines; the difference then has an interval, too.
        samples: Resamples.
        seed: Decides the draws.
    """
    cer, wer = rates(lines)
    result: dict[str, Any] = {"cer": cer, "wer": wer}
    pages = sorted({line.page for line in lines})
    counts = _page_counts(lines, pages)
    sets = [counts] if base is None else [counts, _page_counts(base, pages)]
    if base is not None:
        result["base_cer"], result["base_wer"] = rates(base)
    if len(pages) > 1:

        def statistic(drawn: Any) -> Any:
            found = [_ratios(each[drawn].sum(axis=0)) for each in sets]
            differences = found[1] - found[0] if base is not None else np.empty(0)
            return np.concatenate([*found, differences])

        low_high = bootstrap_intervals(statistic, len(pages), samples=samples, seed=seed)
        names = ["cer", "wer"]
        if base is not None:
            names += ["base_cer", "base_wer", "cer_gain", "wer_gain"]
        for name, interval in zip(names, np.asarray(low_high).reshape(-1, 2), strict=True):
            result[f"{name}_interval"] = [float(interval[0]), float(interval[1])]
    return result


def _page_counts(lines: Sequence[ScoredLine], pages: Sequence[str]) -> Any:
    index = {page: row for row, page in enumerate(pages)}
    counts = np.zeros((len(pages), 4))
    for line in lines:
        counts[index[line.page]] += (
            line.errors,
            line.characters,
            line.word_errors,
            line.words,
        )
    return counts


def _ratios(totals: Any) -> Any:
    return np.array([totals[0] / max(1, totals[1]), totals[2] / max(1, totals[3])])


def variant_rates(lines: Sequence[ScoredLine]) -> dict[str, dict[str, float]]:
    """CER and WER when case, punctuation or accents do not count."""
    result: dict[str, dict[str, float]] = {}
    for name, fold in VARIANTS.items():
        folded = [
            score_line(line.page, line.line, fold(line.truth), fold(line.prediction))
            for line in lines
        ]
        cer, wer = rates(folded)
        result[name] = {"cer": cer, "wer": wer}
    return result


def page_rates(lines: Sequence[ScoredLine]) -> list[dict[str, Any]]:
    """CER, WER and size of each page, worst first."""
    by_page: dict[str, list[ScoredLine]] = {}
    for line in lines:
        by_page.setdefault(line.page, []).append(line)
    rows: list[dict[str, Any]] = []
    for page, found in by_page.items():
        cer, wer = rates(found)
        characters = sum(line.characters for line in found)
        rows.append(
            {"page": page, "cer": cer, "wer": wer, "lines": len(found), "characters": characters}
        )
    return sorted(rows, key=lambda row: (-row["cer"], row["page"]))


def confusions(lines: Sequence[ScoredLine]) -> list[dict[str, Any]]:
    """What was taken for what, most frequent first.

    Each row has the character written (`""` for one the model added), the one read (`""` for one
    it missed), how often, how often the written one occurs, and the share that went this way.
    """
    pairs: Counter[tuple[str, str]] = Counter()
    frequency: Counter[str] = Counter()
    for line in lines:
        frequency.update(line.truth)
        for written, read in edits(line.truth, line.prediction):
            if written != read:
                pairs[written, read] += 1
    return [
        {
            "written": written,
            "read": read,
            "count": count,
            "occurs": frequency[written] if written else 0,
            "share": count / frequency[written] if written else None,
        }
        for (written, read), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    ]


def edits(truth: str, prediction: str) -> Iterator[tuple[str, str]]:
    """Aligned pairs of characters; an empty one on either side is a missing or an added one."""
    for op in Levenshtein.opcodes(truth, prediction):
        written = truth[op.src_start : op.src_end]
        read = prediction[op.dest_start : op.dest_end]
        for position in range(max(len(written), len(read))):
            yield written[position : position + 1], read[position : position + 1]


def difference(truth: str, prediction: str) -> list[tuple[str, str, str]]:
    """A line's errors for people: runs of `(kind, written, read)`, kind equal or wrong."""
    runs: list[tuple[str, str, str]] = []
    for op in Levenshtein.opcodes(truth, prediction):
        kind = "equal" if op.tag == "equal" else "wrong"
        written = truth[op.src_start : op.src_end]
        read = prediction[op.dest_start : op.dest_end]
        runs.append((kind, written, read))
    return runs
