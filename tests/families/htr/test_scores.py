"""Error rates agree with counting by hand, and their intervals are drawn over pages."""

from __future__ import annotations

import pytest

from deepsynth.families.htr import scores
from deepsynth.families.htr.scores import comparable, score_line


def line(truth: str, read: str, page: str = "p0", name: str = "l0") -> scores.ScoredLine:
    return score_line(page, name, comparable(truth, "NFC"), comparable(read, "NFC"))


def test_errors_are_counted_over_all_lines_together():
    lines = [line("abcd", "abxd"), line("abcdef gh", "abcdef gh"), line("ab", "")]
    assert [each.errors for each in lines] == [1, 0, 2]
    assert scores.rates(lines) == (3 / 15, 2 / 4)


def test_forms_and_spaces_do_not_count():
    assert line("e\u0301te\u0301  là", "été là").errors == 0
    assert line("ﬁn", "fin").errors == 2
    assert score_line("p", "l", comparable("ﬁn", "NFKC"), comparable("fin", "NFKC")).errors == 0


def test_variants_forgive_what_they_say():
    lines = [line("Été, là!", "ete la")]
    found = scores.variant_rates(lines)
    assert found["as written"]["cer"] == 5 / 8
    assert found["without case"]["cer"] == 5 / 8
    assert found["without punctuation"]["cer"] == 3 / 6
    assert found["without accents"]["cer"] == 3 / 8
    assert found["without all three"] == {"cer": 0.0, "wer": 0.0}


def test_intervals_are_over_pages_and_hold_the_figure():
    lines = [
        line("a" * 20, "a" * (20 - page % 4), f"p{page}", f"l{row}")
        for page in range(8)
        for row in range(5)
    ]
    found = scores.figures(lines, samples=500, seed=1)
    low, high = found["cer_interval"]
    assert low < found["cer"] < high
    assert found == scores.figures(lines, samples=500, seed=1)
    # the same errors spread evenly over the pages leave no doubt between pages
    even = [line("a" * 20, "a" * 18, f"p{page}") for page in range(8)]
    low, high = scores.figures(even, samples=500, seed=1)["cer_interval"]
    assert low == pytest.approx(high)
    assert "cer_interval" not in scores.figures(lines[:5], samples=500, seed=1)


def test_a_gain_over_the_base_model_has_an_interval():
    better = [line("a" * 20, "a" * 20, f"p{page}") for page in range(6)]
    worse = [line("a" * 20, "a" * (15 + page % 3), f"p{page}") for page in range(6)]
    found = scores.figures(better, worse, samples=500, seed=1)
    assert found["base_cer"] == pytest.approx(0.2)
    assert found["cer_gain_interval"][0] > 0.1


def test_confusions_know_how_often_a_character_occurs():
    found = scores.confusions([line("aaab", "aacb"), line("ab", "b"), line("b", "bx")])
    assert found[0] == {"written": "", "read": "x", "count": 1, "occurs": 0, "share": None}
    assert {"written": "a", "read": "c", "count": 1, "occurs": 4, "share": 0.25} in found
    assert {"written": "a", "read": "", "count": 1, "occurs": 4, "share": 0.25} in found


def test_the_difference_spells_both_texts():
    runs = scores.difference("le livre", "la livr")
    assert "".join(written for _, written, _ in runs) == "le livre"
    assert "".join(read for _, _, read in runs) == "la livr"
    assert [kind for kind, _, _ in runs] == ["equal", "wrong", "equal", "wrong"]


def test_an_interval_without_width_is_not_shown():
    from deepsynth.families.htr.report import interval

    assert interval({"cer_interval": [0.029, 0.041]}, "cer") == " (95 % interval 2.9-4.1 %)"
    assert interval({"cer_interval": [0.0031, 0.0033]}, "cer") == ""
    assert interval({}, "cer") == ""
