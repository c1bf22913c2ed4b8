from __future__ import annotations

import random
import time

from rapidfuzz import fuzz

from deepsynth.data.neardup import SIMILARITY, near_duplicate_groups, normalise
from tests.support.tickets import tickets


def test_case_accents_spacing_and_emojis_do_not_count() -> None:
    assert normalise("  Où EST\nmon  colis ?! 😀") == "où est mon colis"
    assert normalise("e\u0301te\u0301") == normalise("ÉTÉ")
    assert normalise("Straße") == normalise("STRASSE")


def test_near_duplicates_get_the_number_of_their_first() -> None:
    a = "the parcel I ordered on monday has still not arrived at my house"
    texts = [
        "something else entirely about opening hours on sundays",
        a,
        a.upper() + "!!!",
        a.replace("monday", "sunday"),
        "!!!",
        "???",
        "!!!",
        "",
        "a",
        "b",
    ]
    assert near_duplicate_groups(texts) == [0, 1, 1, 1, 4, 5, 4, 7, 8, 9]
    assert near_duplicate_groups([]) == []


def test_a_chain_is_one_group() -> None:
    words = [f"w{n:03d}" for n in range(20)]
    chain = []
    for step in range(9):
        chain.append(" ".join([*(f"x{n:03d}" for n in range(2 * step)), *words[2 * step :]]))
    assert fuzz.ratio(chain[0], chain[-1]) < SIMILARITY
    assert near_duplicate_groups(chain) == [0] * 9


def test_texts_with_typos_are_found_and_nothing_else() -> None:
    generator = random.Random(0)
    originals = [" ".join(text for text, _ in tickets(3, seed=n))[:80] for n in range(100)]
    mistyped: list[str] = []
    for text in originals:
        letters = list(text)
        for at in generator.sample(range(len(letters)), 5):
            letters[at] = generator.choice("abcdefghijklmnopqrstuvwxyz")
        mistyped.append("".join(letters))
    groups = near_duplicate_groups([*originals, *mistyped])
    assert groups[:100] == list(range(100))
    same = [fuzz.ratio(a, b) >= SIMILARITY for a, b in zip(originals, mistyped, strict=True)]
    found = [groups[100 + n] == n for n in range(100)]
    assert sum(same) > 90
    assert sum(found) >= 0.98 * sum(same)
    assert all(groups[100 + n] in (n, 100 + n) for n in range(100))


def test_many_copies_of_one_message_cost_linear_time() -> None:
    texts = [
        f"automatic message: your ticket has been received, number {n:06d}" for n in range(3000)
    ]
    began = time.perf_counter()
    groups = near_duplicate_groups(texts)
    assert len(set(groups)) <= 2
    assert time.perf_counter() - began < 30
