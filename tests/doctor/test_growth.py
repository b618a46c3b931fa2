"""Growth: which curve fits, and when it meets a limit."""

import random
from collections.abc import Callable
from itertools import accumulate

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from coatcheck.doctor.growth import LEAST_POINTS, Growth, Shape, fit


def fitted(points: list[int]) -> Growth:
    growth = fit(points)
    assert growth is not None
    return growth


def first_at(series: Callable[[int], float], limit: float) -> int:
    turn = 1
    while series(turn) < limit:
        turn += 1
    return turn


turns = st.integers(8, 200)


@given(turns, st.integers(1, 10**6), st.integers(0, 10**6))
def test_a_straight_line_is_one_and_is_followed_exactly(count: int, step: int, start: int) -> None:
    growth = fitted([start + step * turn for turn in range(1, count + 1)])
    assert (growth.shape, growth.steady) == (Shape.LINEAR, True)
    limit = start + step * (count + 1000)
    assert growth.reaches(limit) == count + 1000
    assert growth.at(count + 7) == pytest.approx(start + step * (count + 7))


@given(turns, st.integers(1, 10**5), st.integers(0, 10**4))
def test_what_carries_all_before_is_quadratic_and_is_followed_exactly(
    count: int, each: int, first: int
) -> None:
    assume(each * count > first)

    def series(turn: int) -> int:
        return first * turn + each * turn * (turn + 1) // 2

    growth = fitted([series(turn) for turn in range(1, count + 1)])
    assert (growth.shape, growth.steady) == (Shape.QUADRATIC, True)
    assert growth.slope == pytest.approx(each)
    limit = series(3 * count)
    assert growth.reaches(limit) in {3 * count, 3 * count + 1}


@given(st.integers(0, 2**32), st.integers(20, 120))
def test_noise_does_not_bend_a_straight_line(seed: int, count: int) -> None:
    """Chance makes steps look bent at three standard errors about once in a thousand series; not by much even then."""
    chance = random.Random(seed)
    steps = [chance.randint(500, 1500) for _ in range(count)]
    growth = fitted(list(accumulate(steps)))
    if growth.shape is Shape.QUADRATIC:
        assert growth.slope * count < 1.5 * growth.mean
    assert growth.steady


@pytest.mark.parametrize("seed", range(20))
def test_noise_does_not_hide_a_bend_and_the_forecast_is_within_a_tenth(seed: int) -> None:
    chance = random.Random(seed)
    points = list(accumulate(sum(chance.randint(5000, 15_000) for _ in range(turn)) for turn in range(1, 61)))
    growth = fitted(points)
    assert growth.shape is Shape.QUADRATIC
    limit = 50 * 2**20
    reached = growth.reaches(limit)
    assert reached is not None
    assert reached == pytest.approx(first_at(lambda turn: 10_000 * turn * (turn + 1) / 2, limit), rel=0.1)


@pytest.mark.parametrize("period", [2, 3, 4, 5])
@pytest.mark.parametrize("rounds", [10, 20, 40])
@pytest.mark.parametrize("seed", range(4))
def test_a_loop_of_several_turns_is_seen_through_its_rounds(period: int, seed: int, rounds: int) -> None:
    """Model, then tool: the steps alternate by far more than they grow, which once looked like a line with noise."""
    chance = random.Random(seed)
    sizes = [chance.randint(200, 2_000) for _ in range(period - 1)]
    steps = [
        step for turn in range(rounds) for step in (10_000 + 4_000 * turn + chance.randint(0, 400), *sizes)
    ]
    growth = fitted(list(accumulate(steps)))
    assert (growth.shape, growth.steady, growth.period % period) == (Shape.QUADRATIC, True, 0)
    assert growth.slope * period**2 == pytest.approx(4_000, rel=0.05)
    limit = 50 * 2**20
    series = list(
        accumulate(accumulate(range(3_000), lambda step, _: step + 4_000, initial=10_000 + sum(sizes)))
    )
    reached = growth.reaches(limit)
    assert reached is not None
    assert reached / period == pytest.approx(
        next(n for n, value in enumerate(series, 1) if value >= limit), rel=0.05
    )


def test_noise_is_hardly_ever_taken_for_a_loop() -> None:
    chance = random.Random(4)
    series = [list(accumulate(chance.randint(500, 1500) for _ in range(count))) for count in range(20, 120)]
    assert sum(fitted(points).period > 1 for points in series) <= 5


def test_a_jump_is_not_followed() -> None:
    growth = fitted([100 + turn for turn in range(30)] + [10**6 + turn for turn in range(30)])
    assert not growth.steady


def test_a_constant_never_reaches_anything() -> None:
    growth = fitted([500] * 10)
    assert (growth.shape, growth.reaches(501), growth.at(99)) == (Shape.LINEAR, None, 500)
    assert growth.reaches(500) == 1


def test_what_was_reached_already_is_read_off() -> None:
    growth = fitted([10, 20, 30, 40, 50, 60])
    assert [growth.reaches(limit) for limit in (5, 10, 11, 60)] == [1, 1, 2, 6]
    assert (growth.at(0), growth.at(1), growth.at(6)) == (10, 10, 60)


def test_too_few_points_tell_nothing() -> None:
    assert fit(list(range(LEAST_POINTS - 1))) is None
    assert fit([]) is None
