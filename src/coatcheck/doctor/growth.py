"""Growth of a series, and the turn at which it will reach a limit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

LEAST_POINTS: Final = 5
"""Minimum: fewer points cannot distinguish a straight line from a curve."""
_LONGEST_PERIOD: Final = 8
"""Longest loop that is searched for, in turns: model, then tool, is 2."""
_LEAST_ROUNDS: Final = 6
_CLEARER: Final = 3.0
"""Factor by which the steps of whole rounds must scatter less than those of turns, beyond the effect of adding up random
noise, before the turns count as parts of a loop."""
_SURE: Final = 3.0
"""Standard errors by which the steps must grow before it is not considered chance."""
_MATTERS: Final = 0.25
"""Share of the mean step by which the steps must grow over the whole series. Below it the two curves hardly differ
within the measurements, but differ by orders of magnitude far beyond them."""
_STEADY: Final = 0.1
"""Largest distance from the curve, as a share of the total gain, at which a forecast is made. A jump in the
middle of a flat series is at 0.29."""


class Shape(StrEnum):
    """The curve that fits."""

    LINEAR = "linear"
    """Each step adds about as much as the one before."""
    QUADRATIC = "quadratic"
    """Each step adds more than the one before, by a constant amount: it repeats everything before it."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A measured series, and the curve that fits it.

    The curve is fitted to the steps between points, not to the points: a point accumulates all noise before it, so that
    almost any sum of noise looks curved.
    """

    points: tuple[int, ...]
    """Values at the end of each turn, from turn 1."""
    mean: float
    """Average growth a turn."""
    slope: float
    """Increase of the growth with each turn."""
    shape: Shape
    linear_error: float
    """Root mean square distance of a straight line from the points, as a share of the total gain."""
    quadratic_error: float
    """The same for a curve whose steps grow by :attr:`slope`."""
    period: int = 1
    """Turns in a round of the loop: the curve goes through the ends of rounds."""

    @property
    def steady(self) -> bool:
        """True if the curve fits well enough for a forecast."""
        return (self.quadratic_error if self.is_bent else self.linear_error) <= _STEADY

    @property
    def is_bent(self) -> bool:
        """True if each turn adds more than the one before."""
        return self.shape is Shape.QUADRATIC

    @property
    def next_step(self) -> float:
        """The forecast increase at the next turn."""
        return self.at(len(self.points) + 1) - self.points[-1]

    def at(self, turn: int) -> float:
        """Return the value at a turn, measured or forecast."""
        if turn <= len(self.points):
            return self.points[max(turn, 1) - 1]
        ahead = turn - len(self.points)
        straight, bend = self._terms()
        return self.points[-1] + straight * ahead + bend * ahead * ahead

    def reaches(self, limit: float) -> int | None:
        """Return the first turn at which the series is at ``limit`` or above; None if it never is."""
        if self.points[-1] >= limit:
            return next(turn for turn, value in enumerate(self.points, 1) if value >= limit)
        gap = limit - self.points[-1]
        straight, bend = self._terms()
        if bend > 0:
            ahead = (math.sqrt(straight * straight + 4 * bend * gap) - straight) / (2 * bend)
        elif straight > 0:
            ahead = gap / straight
        else:
            return None
        return len(self.points) + math.ceil(ahead)

    def _terms(self) -> tuple[float, float]:
        """Coefficients of the curve from the last point on: linear, and quadratic."""
        if not self.is_bent:
            return self.mean, 0.0
        steps = (len(self.points) - 1) // self.period * self.period
        # The mean is the step in the middle; the next step is number steps + 1.
        following = self.mean + self.slope * (steps + 1) / 2
        return following - self.slope / 2, self.slope / 2


def fit(points: Sequence[int]) -> Growth | None:
    """Fit the growth of ``points``, one a turn; return None for fewer than :data:`LEAST_POINTS`.

    An agent's turns are often parts of a loop, such as a model's answer and then a tool's. These differ far more from each
    other than one round from the next. In that case the curve is fitted to whole rounds.
    """
    if len(points) < LEAST_POINTS:
        return None
    best = _fit(points, 1)
    for period in range(2, _LONGEST_PERIOD + 1):
        if len(points) <= period * _LEAST_ROUNDS:
            break
        candidate = _fit(points, period)
        if candidate.scatter * _CLEARER * math.sqrt(period / best.growth.period) < best.scatter:
            best = candidate
    return best.growth


class _Fit(NamedTuple):
    growth: Growth
    scatter: float
    """Root mean square distance of the steps from their line, as a share of the mean step."""


def _fit(points: Sequence[int], period: int) -> _Fit:
    """Fit the ends of rounds of ``period`` turns, up to the last point."""
    ends = points[(len(points) - 1) % period :: period]
    steps = [after - before for before, after in pairwise(ends)]
    count = len(steps)
    middle = (count - 1) / 2
    mean = sum(steps) / count
    spread = sum((at - middle) ** 2 for at in range(count))
    slope = sum((at - middle) * step for at, step in enumerate(steps)) / spread
    bent = [mean + slope * (at - middle) for at in range(count)]
    rest = sum((step - guess) ** 2 for step, guess in zip(steps, bent, strict=True))
    doubt = math.sqrt(rest / (count - 2) / spread)
    is_bent = slope > _SURE * doubt and slope * count > _MATTERS * mean
    growth = Growth(
        points=tuple(points),
        mean=mean / period,
        slope=slope / period**2,
        shape=Shape.QUADRATIC if is_bent else Shape.LINEAR,
        linear_error=_error(ends, [mean] * count),
        quadratic_error=_error(ends, bent),
        period=period,
    )
    return _Fit(growth, math.sqrt(rest / (count - 2)) / mean if mean > 0 else math.inf)


def _error(points: Sequence[int], steps: Sequence[float]) -> float:
    gained = max(points) - min(points)
    if not gained:
        return 0.0
    guesses = accumulate(steps, initial=float(points[0]))
    squares = sum((point - guess) ** 2 for point, guess in zip(points, guesses, strict=True))
    return math.sqrt(squares / len(points)) / gained
