"""Curves as SVG, drawn here, so that a page needs no program and no network to show them."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 10, 28, 30  # what is around the field of the curves
_DOTS = 60  # points of a line that are drawn one by one
_LINE = 1000  # points of a line at most

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A curve with its name and colour; NaN and infinity are gaps in it."""

    label: str
    points: Points
    colour: str


@dataclass(frozen=True)
class Scale:
    """Numbers from ``low`` to ``high`` as places from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log10(v) for v in (self.low, self.high, value)) if self.log else (
            self.low, self.high, value)  # fmt: skip
        return self.start + (value - low) / ((high - low) or 1) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers within."""
        return decades(self.low, self.high) if self.log else round_numbers(self.low, self.high)


def round_numbers(low: float, high: float, most: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from ``low`` to ``high``.

    >>> round_numbers(0.0, 0.9), round_numbers(3, 11)
    ([0.0, 0.2, 0.4, 0.6, 0.8], [4.0, 6.0, 8.0, 10.0])
    """
    if not high > low:
        return [float(low)]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * n for n in (1, 2, 5, 10) if (high - low) / (power * n) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{n * step:.12g}") for n in range(first, last + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten from ``low`` to ``high``; both ends where there are fewer than two.

    >>> decades(0.02, 30.0), decades(2.0, 7.0)
    ([0.1, 1.0, 10.0], [2.0, 7.0])
    """
    found = [10.0**n for n in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    return (found if len(found) < 7 else found[:: len(found) // 4]) if len(found) > 1 else [low, high]


def chart(title: str, lines: Sequence[Line], *, across: str = "step", steps: bool = False) -> str:
    """Curves over each other as an SVG element; empty where no number is finite.

    The scale is that of logarithms where all numbers are above 0 and the largest is more than 10 times the least.

    Arguments:
        title: what stands above.
        lines: the curves.
        across: what the horizontal axis counts.
        steps: whether a number holds until the next one, as a learning rate does.
    """
    finite = [(x, y) for line in lines for x, y in line.points if math.isfinite(y)]
    if not finite:
        return ""
    xs, ys = [x for x, _ in finite], [y for _, y in finite]
    log = min(ys) > 0 and max(ys) > 10 * min(ys)
    x = Scale(min(xs), max(xs), _LEFT, WIDTH - _RIGHT)
    y = Scale(*_room(min(ys), max(ys), log), HEIGHT - _BOTTOM, _TOP, log)
    drawn = [_curve(line, x, y, steps) for line in lines]
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">'
        f'<text class="title" x="{_LEFT}" y="16">{html.escape(title)}</text>'
        f"{_axes(x, y, across)}{''.join(drawn)}</svg>"
    )


def _room(low: float, high: float, log: bool) -> tuple[float, float]:
    """Bounds with some room around them."""
    if log:
        return low / 1.15, high * 1.15
    beside = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - beside, high + beside


def _axes(x: Scale, y: Scale, across: str) -> str:
    parts = []
    for tick in y.ticks():
        at = f"{y(tick):.1f}"
        parts.append(f'<path class="grid" d="M{_LEFT} {at}H{WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{at}" dy="3.5" text-anchor="end">{tick:.4g}</text>')
    for tick in x.ticks():
        at = f"{x(tick):.1f}"
        parts.append(f'<text class="tick" x="{at}" y="{HEIGHT - _BOTTOM + 14}" text-anchor="middle">{tick:.6g}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT} {_TOP}V{HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}"/>')
    end = f'x="{WIDTH - _RIGHT}" y="{HEIGHT - 4}" text-anchor="end"'
    return "".join(parts) + f'<text class="tick" {end}>{html.escape(across)}</text>'


def _curve(line: Line, x: Scale, y: Scale, steps: bool) -> str:
    """A line, broken where numbers are not finite, with dots that tell their numbers where there are few."""
    kept = thinned(line.points, _LINE)
    places = [(x(at), y(value)) if math.isfinite(value) else None for at, value in kept]
    path, pen_down = "", False
    for place in places:
        if place is not None:
            path += (f"H{place[0]:.1f}V{place[1]:.1f}" if steps and pen_down else
                     f"{'L' if pen_down else 'M'}{place[0]:.1f} {place[1]:.1f}")  # fmt: skip
        pen_down = place is not None
    dots = "".join(
        f'<circle cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="2.5" fill="{line.colour}">'
        f"<title>{html.escape(line.label)}, {at:g}: {value:.6g}</title></circle>"
        for place, (at, value) in zip(places, kept, strict=True)
        if place is not None and len(kept) <= _DOTS
    )
    return f'<path class="line" d="{path}" stroke="{line.colour}"/>{dots}'


def thinned(points: Points, most: int) -> Points:
    """At most so many points, first and last among them, evenly taken."""
    if len(points) <= most:
        return points
    return [points[round(n * (len(points) - 1) / (most - 1))] for n in range(most)]
