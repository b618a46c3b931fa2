"""A chart of a history's growth: measured and forecast, plain and with a chain, with the limits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from coatcheck.cli.doctor.markup import element
from coatcheck.cli.doctor.words import size
from coatcheck.doctor.diagnosis import Diagnosis
from coatcheck.doctor.limits import TEMPORAL, Course, Measure

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
class _Frame:
    """The coordinates of turns and bytes."""

    turns: int
    least: float
    """Bytes at the bottom."""

    def x(self, turn: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * turn / self.turns

    def y(self, count: float) -> float:
        height = math.log(max(count, self.least) / self.least) / math.log(_BYTES_ON_TOP / self.least)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * min(height, 1)


def growth_chart(diagnosis: Diagnosis) -> Element | None:
    """Return an SVG element; None if no turn has ended."""
    if not diagnosis.turns:
        return None
    smallest = min(
        course.points[Measure.HISTORY][0] for course in (diagnosis.course, diagnosis.prospect.course)
    )
    frame = _Frame(_last_turn(diagnosis), 2.0 ** math.floor(math.log2(max(smallest, 1))))
    return element(
        "svg",
        element("title", "History over turns, without and with coatcheck"),
        *_grid(frame),
        *_limit_lines(frame),
        *_curve(frame, diagnosis.course, "plain"),
        *_curve(frame, diagnosis.prospect.course, "chained"),
        *_legend(diagnosis),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
    )


def _last_turn(diagnosis: Diagnosis) -> int:
    now = diagnosis.turns
    ahead = [one.turn for one in diagnosis.distances if one.limit in _LIMITS and one.turn and one.turn > now]
    return max(2, math.ceil(1.1 * min(max(ahead, default=now), _AHEAD * now)))


def _grid(frame: _Frame) -> list[Element]:
    lines: list[Element] = []
    bottom = _HEIGHT - _BOTTOM
    count = 1024.0
    while count < _BYTES_ON_TOP:
        if count >= frame.least:
            height = frame.y(count)
            lines += [
                element("line", class_="grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=height, y2=height),
                _text(size(count).replace(".0 ", " "), _LEFT - 8, height + 4, "end"),
            ]
        # 1, 10, 100 KiB, 1, 10, 100 MiB
        count *= 1024 / 100 if f"{count:.0f}" in _HUNDREDS else _LABEL_EVERY
    step = max(1, round(frame.turns / _TICKS, -max(0, len(str(frame.turns // _TICKS)) - 1)))
    for turn in range(0, frame.turns + 1, int(step)):
        lines.append(_text(f"{turn:,}", frame.x(turn), bottom + 18, "middle"))
    lines.append(_text("turns (workflow tasks)", (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, "middle"))
    return lines


_HUNDREDS = {f"{100 * 1024**power}" for power in (1, 2)}


def _limit_lines(frame: _Frame) -> list[Element]:
    lines: list[Element] = []
    for limit in _LIMITS:
        height = frame.y(limit.value)
        said = f"{size(limit.value).replace('.0 ', ' ')}: {limit.consequence}"
        lines += [
            element("line", class_="limit", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=height, y2=height),
            _text(said, _LEFT + 6, height - 4, "start"),
        ]
    return lines


def _curve(frame: _Frame, course: Course, name: str) -> list[Element]:
    points = course.points[Measure.HISTORY]
    measured = list(enumerate(points, 1))
    lines = [_line(frame, measured, name)]
    growth = course.growth.get(Measure.HISTORY)
    if growth and growth.steady and frame.turns > len(points):
        forecast = [(turn, growth.at(turn)) for turn in range(len(points), frame.turns + 1)]
        inside = [(turn, count) for turn, count in forecast if count <= _BYTES_ON_TOP]
        lines.append(_line(frame, inside, f"{name} forecast"))
    turn, count = measured[-1]
    return [*lines, element("circle", class_=name, cx=frame.x(turn), cy=frame.y(count), r=4)]


def _legend(diagnosis: Diagnosis) -> list[Element]:
    """The legend, in the corner that is always empty: histories never shrink."""
    right, bottom = _WIDTH - _RIGHT - 8, _HEIGHT - _BOTTOM - 8
    now = f"at turn {diagnosis.turns:,}"
    return [
        _text(f"this history: {_measured(diagnosis.course)} {now}", right, bottom - 18, "end", "plain"),
        _text(
            f"with coatcheck: {_measured(diagnosis.prospect.course)} {now}", right, bottom, "end", "chained"
        ),
    ]


def _measured(course: Course) -> str:
    return size(course.points[Measure.HISTORY][-1])


def _line(frame: _Frame, points: Sequence[tuple[int, float]], name: str) -> Element:
    stride = math.ceil(len(points) / _MOST_POINTS)
    shown = [*points[::stride], *points[-1:]]
    path = " ".join(f"{frame.x(turn):.1f},{frame.y(count):.1f}" for turn, count in shown)
    return element("polyline", class_=name, points=path)


def _text(said: str, x: float, y: float, anchor: str, name: str = "label") -> Element:
    return element("text", said, class_=name, x=x, y=y, text_anchor=anchor)
