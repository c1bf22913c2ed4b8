"""What a trained model must beat to have learned anything: summaries that cost nothing to write."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deepsynth.families.summarize.metrics import words
from deepsynth.families.summarize.samples import evenly

_CANDIDATES = 200
_ABBREVIATION = re.compile(
    "al|approx|art|av|bzw|ca|cf|co|dra?|etc|fig|inc|jr|ltd|m|mlle|mme|mrs?|ms|no|nr|prof|sra?|st|"
    "usw|vs|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec",
    re.IGNORECASE,
)
_END = re.compile(r"(?<=[.!?…])[\"'”’»)]*\s+|(?<=[。！？])[」』”’）]*\s*")
_LAST_WORD = re.compile(r"(\w+)\.$")


def sentences(text: str) -> list[str]:
    """The sentences of a text; none ends at "Dr.", at an initial, or at a number like "3."."""
    found: list[str] = []
    held = ""
    start, plain = 0, " ".join(text.split())
    for match in [*_END.finditer(plain), None]:
        end = match.end() if match else len(plain)
        held += plain[start:end]
        start = end
        word = _LAST_WORD.search(held.strip())
        if match and word and _goes_on(word[1]):
            continue
        if held.strip():
            found.append(held.strip())
        held = ""
    return found


def lead(text: str, count: int = 3) -> str:
    """The first sentences of a text: the baseline that news summaries are hard put to beat."""
    return " ".join(sentences(text)[:count])


def best_constant(summaries: Sequence[str]) -> str:
    """The training summary that is most like all others: the best answer without a look at a page.

    Args:
        summaries: Of the training documents; up to 200 of them, evenly drawn, are compared.
    """
    from rapidfuzz.distance import LCSseq

    drawn = [summaries[index] for index in evenly(_CANDIDATES, len(summaries))]
    others = [words(text) for text in drawn]

    def likeness(candidate: str) -> float:
        ours = words(candidate)
        return sum(
            LCSseq.similarity(ours, other) / (len(ours) + len(other))
            for other in others
            if ours and other
        )

    return max(dict.fromkeys(drawn), key=likeness, default="")


def nearest_summaries(
    texts: Sequence[str],
    known: Sequence[str],
    summaries: Sequence[str],
    itself: Sequence[int | None],
) -> list[str]:
    """For each text the summary of the training text with the most similar words.

    Args:
        texts: Of the evaluated documents.
        known: Of the training documents.
        summaries: Theirs.
        itself: For each text its own place among the training documents, which does not count.
    """
    from deepsynth.evaluation.tfidf import Tfidf, words_of

    weigh = Tfidf.learn(known, words_of)
    if not weigh.index:  # no two of them share a word
        return [summaries[0]] * len(texts)
    trained = weigh(known)
    found: list[str] = []
    for text, own in zip(texts, itself, strict=True):
        likeness = trained @ weigh([text]).to_dense()[0]
        if own is not None:
            likeness[own] = -1.0
        found.append(summaries[int(likeness.argmax())])
    return found


def _goes_on(word: str) -> bool:
    return bool(_ABBREVIATION.fullmatch(word)) or len(word) == 1 or word.isdigit()
