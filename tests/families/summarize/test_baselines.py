"""What a trained model is held against."""

from __future__ import annotations

from deepsynth.families.summarize.baselines import (
    best_constant,
    lead,
    nearest_summaries,
    sentences,
)
from deepsynth.families.summarize.controls import other_documents
from deepsynth.families.summarize.samples import PageSamples
from tests.support.pages import rows


def test_lead_takes_whole_sentences() -> None:
    text = "One is first. Two\nfollows! Is three here? Four is too much."
    assert lead(text) == "One is first. Two follows! Is three here?"


def test_sentences_do_not_end_at_abbreviations() -> None:
    text = "Dr. Meier et al. met J. Roux on 3. May. They spoke (at length). 東京は雨。明日は晴れ。"
    assert sentences(text) == [
        "Dr. Meier et al. met J. Roux on 3. May.",
        "They spoke (at length).",
        "東京は雨。",
        "明日は晴れ。",
    ]


def test_the_best_constant_is_most_like_all_others() -> None:
    assert best_constant(["rain in the north", "sun", "rain in the south", "rain in the west"]) in (
        "rain in the north",
        "rain in the south",
        "rain in the west",
    )
    assert best_constant([]) == ""


def test_the_nearest_text_is_never_the_document_itself() -> None:
    known = ["ships sail from the harbour", "bread is dear", "ships leave the harbour at dawn"]
    found = nearest_summaries(["a harbour for ships"], known, ["one", "two", "three"], [None])
    assert found[0] in ("one", "three")
    assert nearest_summaries(known, known, ["one", "two", "three"], [0, 1, 2])[0] == "three"
    assert nearest_summaries(["x"], ["", ""], ["one", "two"], [None]) == ["one"]


def test_every_document_gets_the_pages_of_another() -> None:
    others = other_documents(list(range(10, 30)), seed=1)
    assert sorted(others) == sorted(others.values()) == list(range(10, 30))
    assert all(index != other for index, other in others.items())
    assert other_documents([4], seed=1) == {}


def test_some_of_the_samples_are_drawn_from_everywhere() -> None:
    """The fault: of two datasets laid end to end, only the first one is looked at."""
    both = [row | {"summary": f"{n // 4} {n}"} for n, row in enumerate(rows(4) + rows(4))]
    few = PageSamples(both, "rows", limit=4)
    assert [text[0] for text in few.summaries()] == ["0", "0", "1", "1"]
    assert [text[0] for text in few.some(2).summaries()] == ["0", "1"]
    assert few.where(3) == "rows, row 6"
    assert few[3].summary == few.summaries()[3]
