"""Curves: the points lie where their values say, in a picture that is valid SVG."""

from __future__ import annotations

import math
import re

from lxml import etree

from deepsynth.report.curve import Series, draw_curve


def places(svg: str) -> list[list[tuple[float, float]]]:
    found = re.findall(r'<polyline points="([^"]*)"', svg)
    return [
        [(float(a), float(b)) for a, b in (pair.split(",") for pair in line.split())]
        for line in found
    ]


def test_points_lie_where_their_values_say() -> None:
    svg = draw_curve([Series("loss", [(0, 4.0), (5, 2.0), (10, 1.0)])], x="updates", y="loss")
    etree.fromstring(svg)
    ((x0, y0), (x1, y1), (x2, y2)) = places(svg)[0]
    assert x1 - x0 == x2 - x1 > 0
    assert math.isclose((y1 - y0) / (y2 - y0), 2 / 3, abs_tol=0.01)


def test_a_loss_that_falls_far_is_drawn_on_a_logarithmic_scale() -> None:
    svg = draw_curve([Series("loss", [(0, 100.0), (1, 10.0), (2, 1.0)])], x="u", y="loss")
    (_, y0), (_, y1), (_, y2) = places(svg)[0]
    assert math.isclose(y1 - y0, y2 - y1, abs_tol=0.2)


def test_a_share_has_an_axis_of_its_own_from_zero_to_one() -> None:
    alone = draw_curve([Series("F1", [(0, 0.5), (1, 1.0)], share=True)], x="u", y="")
    both = draw_curve(
        [Series("loss", [(0, 9.0), (1, 3.0)]), Series("F1", [(0, 0.5), (1, 1.0)], share=True)],
        x="u",
        y="loss",
    )
    assert places(alone)[0] == places(both)[1]


def test_labels_are_escaped_and_what_is_no_number_left_out() -> None:
    svg = draw_curve([Series("<a&b>", [(0, 1.0), (1, math.nan), (2, 2.0)])], x="u", y="v")
    etree.fromstring(svg)
    assert "<a&" not in svg
    assert len(places(svg)[0]) == 2


def test_without_two_points_there_is_no_curve() -> None:
    assert draw_curve([Series("loss", [(1, 2.0)]), Series("F1", [])], x="u", y="loss") == ""


def test_one_value_all_along_is_drawn() -> None:
    etree.fromstring(draw_curve([Series("loss", [(0, 0.0), (1, 0.0)])], x="u", y="loss"))
