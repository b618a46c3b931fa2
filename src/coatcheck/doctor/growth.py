"""How a series grows, and when it will meet a limit at the present growth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, pairwise
from typing import Final

LEAST_POINTS: Final = 5
"""Fewer do not tell a straight line from a bent one."""
_SURE: Final = 3.0
"""Standard errors by which the steps must become larger for that not to be chance."""
_MATTERS: Final = 0.25
"""Share of the mean step by which they must become larger over the whole series. Below it the two curves hardly differ
where there are measurements, and differ by orders of magnitude far ahead."""
_STEADY: Final = 0.1
"""Distance from the curve, as a share of all that was gained, up to which it can be followed further. A jump in the
middle of a flat series is at 0.29."""


class Shape(StrEnum):
    """Which curve fits."""

    LINEAR = "linear"
    """Each step adds about as much as the one before."""
    QUADRATIC = "quadratic"
    """Each step adds more than the one before, by about the same amount: it carries along all that was before."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A series that was measured, and the curve that fits it.

    The curve is fitted to the steps from point to point, not to the points: these add up all chance before them, which
    makes nearly every sum of noise look bent.
    """

    points: tuple[int, ...]
    """The first is that of turn 1."""
    mean: float
    """By how much the series grows from one turn to the next, on average."""
    slope: float
    """By how much more with each turn."""
    shape: Shape
    linear_error: float
    """Root mean square distance of a straight line from the points, as a share of all that was gained."""
    quadratic_error: float
    """The same for a curve whose steps grow by :attr:`slope`."""

    @property
    def steady(self) -> bool:
        """Whether the curve fits well enough to be followed beyond the last point."""
        return (self.quadratic_error if self.is_bent else self.linear_error) <= _STEADY

    @property
    def is_bent(self) -> bool:
        """Whether each turn adds more than the one before."""
        return self.shape is Shape.QUADRATIC

    def at(self, turn: int) -> float:
        """The value at a turn: as measured, or as it will be."""
        if turn <= len(self.points):
            return self.points[max(turn, 1) - 1]
        ahead = turn - len(self.points)
        straight, bend = self._terms()
        return self.points[-1] + straight * ahead + bend * ahead * ahead

    def reaches(self, limit: float) -> int | None:
        """The first turn at which the series is at ``limit`` or above; None if it never is."""
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
        """The curve from the last point on: what a turn adds, and what the square of the turns adds."""
        if not self.is_bent:
            return self.mean, 0.0
        steps = len(self.points) - 1
        # The mean is that of the step in the middle; the next step is number steps + 1.
        following = self.mean + self.slope * (steps + 1) / 2
        return following - self.slope / 2, self.slope / 2


def fit(points: Sequence[int]) -> Growth | None:
    """The growth of ``points``, one a turn; None if they are fewer than :data:`LEAST_POINTS`."""
    if len(points) < LEAST_POINTS:
        return None
    steps = [after - before for before, after in pairwise(points)]
    count = len(steps)
    middle = (count - 1) / 2
    mean = sum(steps) / count
    spread = sum((at - middle) ** 2 for at in range(count))
    slope = sum((at - middle) * step for at, step in enumerate(steps)) / spread
    bent = [mean + slope * (at - middle) for at in range(count)]
    rest = sum((step - guess) ** 2 for step, guess in zip(steps, bent, strict=True))
    doubt = math.sqrt(rest / (count - 2) / spread)
    is_bent = slope > _SURE * doubt and slope * count > _MATTERS * mean
    return Growth(
        points=tuple(points),
        mean=mean,
        slope=slope,
        shape=Shape.QUADRATIC if is_bent else Shape.LINEAR,
        linear_error=_error(points, [mean] * count),
        quadratic_error=_error(points, bent),
    )


def _error(points: Sequence[int], steps: Sequence[float]) -> float:
    gained = max(points) - min(points)
    if not gained:
        return 0.0
    guesses = accumulate(steps, initial=float(points[0]))
    squares = sum((point - guess) ** 2 for point, guess in zip(points, guesses, strict=True))
    return math.sqrt(squares / len(points)) / gained
