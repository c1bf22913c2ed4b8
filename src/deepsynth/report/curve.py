"""A curve as SVG: sharp at any size, readable without a program, drawn without a plotting library.

Every family's environment can draw it, also one that holds no matplotlib.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 840, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 56, 48, 44
_DECADES = 20
"""A curve that falls to a share smaller than one in so many is drawn on a logarithmic scale."""
_COLOURS = ("#1d4ed8", "#d97706", "#047857", "#9333ea", "#be123c", "#0f766e")


@dataclass(frozen=True)
class Series:
    """One line of a curve.

    Attributes:
        label: What it shows, for the legend.
        points: Pairs of x and y, in the order they are joined.
        share: It is measured from 0 to 1 on an axis of its own, at the right.
    """

    label: str
    points: Sequence[tuple[float, float]]
    share: bool = False


def draw_curve(series: Sequence[Series], *, x: str, y: str) -> Markup:
    """The SVG element of a curve; empty when no series has two points.

    Args:
        series: Those without points are left out; a value that is not finite is left out too.
        x: Name of the axis below, such as `updates`.
        y: Name of the axis at the left, such as `loss`.
    """
    drawn = [(one, _finite(one)) for one in series]
    drawn = [(one, points) for one, points in drawn if points]
    if max((len(points) for _, points in drawn), default=0) < 2:
        return Markup("")
    every = [place for _, points in drawn for place, _ in points]
    across = _Axis(min(every), max(every), _LEFT, WIDTH - _RIGHT)
    bottom, top = HEIGHT - _BOTTOM, _TOP
    values = [value for one, points in drawn if not one.share for _, value in points]
    up = _Axis.of(values or [0.0, 1.0], bottom, top)
    shares = _Axis(0.0, 1.0, bottom, top)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" '
        f'aria-label="{escape(_story(drawn, x))}">'
    ]
    parts += [_grid(up, value) for value in up.ticks()] if values else []
    parts += [_text(across.place(value), bottom + 18, _number(value)) for value in across.ticks()]
    parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 6, x))
    if values:
        parts.append(_text(8, 16, y, "start"))
    if any(one.share for one, _ in drawn):
        parts += [
            _text(WIDTH - _RIGHT + 8, shares.place(value) + 4, _number(value), "start")
            for value in shares.ticks()
        ]
    legend = float(_LEFT)
    for number, (one, points) in enumerate(drawn):
        colour = _COLOURS[number % len(_COLOURS)]
        scale = shares if one.share else up
        line = " ".join(f"{across.place(a):.1f},{scale.place(b):.1f}" for a, b in points)
        dashes = ' stroke-dasharray="6 3"' if one.share else ""
        stroke = f'fill="none" stroke="{colour}" stroke-width="2"{dashes}'
        parts.append(f'<polyline points="{line}" {stroke}/>')
        parts.append(f'<path d="M{legend:.0f} {top - 18}h22" {stroke}/>')
        parts.append(_text(legend + 28, top - 14, one.label, "start"))
        legend += 50 + 6.6 * len(one.label)
    parts.append("</svg>")
    return Markup("\n".join(parts))


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float) -> _Axis:
        low, high = min(values), max(values)
        if 0 < low * _DECADES < high:
            return cls(low, high, start, end, logarithmic=True)
        return cls(min(0.0, low), high, start, end)

    def place(self, value: float) -> float:
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (value - low) / ((high - low) or 1.0) * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.logarithmic:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            every = [m * 10.0**power for power in range(first, last + 1) for m in (1, 3)]
        else:
            step = _round_step((self.high - self.low) / 5 or 1.0)
            first, last = math.ceil(self.low / step), math.floor(self.high / step)
            every = [step * n for n in range(first, last + 1)]
        return [value for value in every if self.low <= value <= self.high]


def _round_step(rough: float) -> float:
    """The next step of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)


def _finite(series: Series) -> list[tuple[float, float]]:
    return [(a, b) for a, b in series.points if math.isfinite(a) and math.isfinite(b)]


def _number(value: float) -> str:
    return f"{value:.4g}"


def _grid(axis: _Axis, value: float) -> str:
    y = axis.place(value)
    line = f'<path d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}" stroke="#d9e2ec"/>'
    return line + _text(_LEFT - 8, y + 4, _number(value), "end")


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _story(drawn: Sequence[tuple[Series, list[tuple[float, float]]]], x: str) -> str:
    """What a person hears who cannot see the curve."""
    told = (
        f"{one.label} from {_number(points[0][1])} to {_number(points[-1][1])}"
        for one, points in drawn
    )
    return f"{'; '.join(told)}, over the {x}"
