"""A chart of growth: measured and forecast, plain and with a chain, with the limits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from coatcheck.cli.doctor.markup import element
from coatcheck.cli.doctor.words import size
from coatcheck.doctor.diagnosis import Diagnosis
from coatcheck.doctor.growth import Growth
from coatcheck.doctor.limits import TEMPORAL, Course, Limit, Measure

_WIDTH, _HEIGHT = 760, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 16, 16, 44
_LIMITS = [limit for limit in TEMPORAL if limit.measure is Measure.HISTORY]
_MOST_POINTS = 300
"""More cannot be distinguished at this width."""
_AHEAD = 3
"""Longest forecast, as a multiple of the turns so far."""
_BYTES_ON_TOP = 200 * 2**20
_LABEL_EVERY = 10
"""Factor from one horizontal line to the next."""
_TICKS = 6


@dataclass(frozen=True, slots=True)
class Curve:
    """A measured series, and its growth."""

    points: tuple[int, ...]
    """Values at the end of each turn; at least one."""
    growth: Growth | None

    @classmethod
    def of(cls, course: Course) -> "Curve":
        """Return the curve of a history."""
        return cls(course.points[Measure.HISTORY], course.growth.get(Measure.HISTORY))


@dataclass(frozen=True, slots=True)
class _Frame:
    """The coordinates of turns and bytes."""

    turns: int
    least: float
    """Bytes at the bottom."""
    most: float
    """Bytes at the top."""

    def x(self, turn: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * turn / self.turns

    def y(self, count: float) -> float:
        height = math.log(max(count, self.least) / self.least) / math.log(self.most / self.least)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * min(height, 1)


def growth_chart(diagnosis: Diagnosis) -> Element | None:
    """Return an SVG element; None if no turn has ended."""
    if not diagnosis.turns:
        return None
    return chart(
        Curve.of(diagnosis.course),
        Curve.of(diagnosis.prospect.course),
        last=_last_turn(diagnosis),
        most=_BYTES_ON_TOP,
        limits=_LIMITS,
        subject="history",
        axis="turns (workflow tasks)",
    )


def chart(
    plain: Curve,
    chained: Curve,
    *,
    last: int,
    most: float,
    limits: Sequence[Limit],
    subject: str,
    axis: str,
) -> Element:
    """Return an SVG element.

    Args:
        plain: Growth as it is.
        chained: Growth with a chain.
        last: Turn at the right.
        most: Bytes at the top.
        limits: Lines to draw.
        subject: The thing that grows: ``history``.
        axis: Name of the turns, in the plural.
    """
    smallest = min(plain.points[0], chained.points[0])
    frame = _Frame(last, 2.0 ** math.floor(math.log2(max(smallest, 1))), most)
    now = f"at {axis.partition(' ')[0].removesuffix('s')} {len(plain.points):,}"
    return element(
        "svg",
        element("title", f"{subject.capitalize()} over {axis.partition(' ')[0]}, without and with coatcheck"),
        *_grid(frame, axis),
        *_limit_lines(frame, limits),
        *_curve(frame, plain, "plain"),
        *_curve(frame, chained, "chained"),
        *_legend(
            f"this {subject}: {size(plain.points[-1])} {now}",
            f"with coatcheck: {size(chained.points[-1])} {now}",
        ),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
    )


def _last_turn(diagnosis: Diagnosis) -> int:
    now = diagnosis.turns
    ahead = [one.turn for one in diagnosis.distances if one.limit in _LIMITS and one.turn and one.turn > now]
    return max(2, math.ceil(1.1 * min(max(ahead, default=now), _AHEAD * now)))


def _grid(frame: _Frame, axis: str) -> list[Element]:
    lines: list[Element] = []
    bottom = _HEIGHT - _BOTTOM
    count = 1024.0
    while count < frame.most:
        if count >= frame.least:
            height = frame.y(count)
            lines += [
                element("line", class_="grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=height, y2=height),
                _text(size(count).replace(".0 ", " "), _LEFT - 8, height + 4, "end"),
            ]
        # 1, 10, 100 KiB, 1, 10, 100 MiB, 1 GiB
        count *= 1024 / 100 if f"{count:.0f}" in _HUNDREDS else _LABEL_EVERY
    step = max(1, round(frame.turns / _TICKS, -max(0, len(str(frame.turns // _TICKS)) - 1)))
    for turn in range(0, frame.turns + 1, int(step)):
        lines.append(_text(f"{turn:,}", frame.x(turn), bottom + 18, "middle"))
    lines.append(_text(axis, (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, "middle"))
    return lines


_HUNDREDS = {f"{100 * 1024**power}" for power in (1, 2, 3)}


def _limit_lines(frame: _Frame, limits: Sequence[Limit]) -> list[Element]:
    lines: list[Element] = []
    for limit in limits:
        height = frame.y(limit.value)
        said = f"{size(limit.value).replace('.0 ', ' ')}: {limit.consequence}"
        lines += [
            element("line", class_="limit", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=height, y2=height),
            _text(said, _LEFT + 6, height - 4, "start"),
        ]
    return lines


def _curve(frame: _Frame, curve: Curve, name: str) -> list[Element]:
    points = curve.points
    measured = list(enumerate(points, 1))
    lines = [_line(frame, measured, name)]
    growth = curve.growth
    if growth and growth.steady and frame.turns > len(points):
        forecast = [(turn, growth.at(turn)) for turn in range(len(points), frame.turns + 1)]
        inside = [(turn, count) for turn, count in forecast if count <= frame.most]
        lines.append(_line(frame, inside, f"{name} forecast"))
    turn, count = measured[-1]
    return [*lines, element("circle", class_=name, cx=frame.x(turn), cy=frame.y(count), r=4)]


def _legend(plain: str, chained: str) -> list[Element]:
    """The legend, in the corner that is always empty: nothing here shrinks."""
    right, bottom = _WIDTH - _RIGHT - 8, _HEIGHT - _BOTTOM - 8
    return [
        _text(plain, right, bottom - 18, "end", "plain"),
        _text(chained, right, bottom, "end", "chained"),
    ]


def _line(frame: _Frame, points: Sequence[tuple[int, float]], name: str) -> Element:
    stride = math.ceil(len(points) / _MOST_POINTS)
    shown = [*points[::stride], *points[-1:]]
    path = " ".join(f"{frame.x(turn):.1f},{frame.y(count):.1f}" for turn, count in shown)
    return element("polyline", class_=name, points=path)


def _text(said: str, x: float, y: float, anchor: str, name: str = "label") -> Element:
    return element("text", said, class_=name, x=x, y=y, text_anchor=anchor)
