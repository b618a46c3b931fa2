"""A sweep asks the store no more often than it may."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from coatcheck import ConfigError, MemoryStore
from coatcheck.retention.rate_limit import RateLimiter, listed
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.limiter import Limiter


class Counting(Limiter):
    """Counts whom it admits."""

    def __init__(self) -> None:
        super().__init__(operations=1, size=1)
        self.admitted = 0

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        self.admitted += 1
        async with super().hold(size):
            yield


async def test_requests_are_spread_over_time_however_many_come_at_once() -> None:
    pace = RateLimiter(100)

    async def request() -> None:
        async with pace.hold(0):
            pass

    begun = time.monotonic()
    await all_at_once(request() for _ in range(21))
    assert time.monotonic() - begun >= 0.2


async def test_time_that_went_by_is_not_made_up_for_in_a_burst() -> None:
    pace = RateLimiter(20)
    pace._next = time.monotonic() - 100
    begun = time.monotonic()
    for _ in range(3):
        async with pace.hold(0):
            pass
    assert time.monotonic() - begun >= 0.1


@pytest.mark.parametrize(("objects", "pages"), [(0, 1), (999, 1), (1001, 2), (2500, 3)])
async def test_each_page_of_a_listing_is_a_request(objects: int, pages: int) -> None:
    store, limiter = MemoryStore(), Counting()
    for number in range(objects):
        await store.create(f"object-{number}", b"")
    assert len([entry async for entry in listed(store, "", limiter)]) == objects
    assert limiter.admitted == pages


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_at_which_nothing_would_ever_be_done(rate: float) -> None:
    with pytest.raises(ConfigError):
        RateLimiter(rate)
