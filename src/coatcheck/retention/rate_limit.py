"""A limit on the requests of a sweep per second."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from coatcheck.contracts.store import Store, StoredObject
from coatcheck.errors import ConfigError, StoreUnavailable
from coatcheck.storage.limiter import Limiter

_PAGE: Final = 1000
"""Objects in one page of a listing, as from S3 and GCS."""
PAGE_SECONDS: Final = 60.0
"""Deadline for one page of a listing."""
REQUEST_SECONDS: Final = 120.0
"""Deadline for one request of a sweep, including the wait for its turn, which is long at a low rate."""
_AT_ONCE: Final = 64


class RateLimiter(Limiter):
    """A limiter that also limits requests per second. For one event loop; first come, first served.

    Args:
        requests_per_second: Maximum rate, on average.

    Raises:
        ConfigError: ``requests_per_second`` is not positive.
    """

    def __init__(self, requests_per_second: float) -> None:
        if not requests_per_second > 0:
            raise ConfigError("requests_per_second must be positive", "Allow 1000, for example.")
        super().__init__(operations=_AT_ONCE, size=2**20)
        self._pause = 1 / requests_per_second
        self._next = 0.0

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """See :meth:`Limiter.hold`."""
        now = time.monotonic()
        turn = max(self._next, now)
        self._next = turn + self._pause
        await asyncio.sleep(turn - now)
        async with super().hold(size):
            yield


async def listed(store: Store, prefix: str, limiter: Limiter) -> AsyncIterator[StoredObject]:
    """List a store; the limiter admits each page, and the event loop runs after each.

    Args:
        store: The store.
        prefix: The start of the keys.
        limiter: Admits each page.

    Raises:
        StoreUnavailable: A page took longer than :data:`PAGE_SECONDS`. The whole listing has no deadline.
        StoreError: The store cannot or will not be listed.
    """
    entries = store.list_objects(prefix)
    while page := await _page(entries, limiter):
        for entry in page:
            yield entry
        if len(page) < _PAGE:
            return
        await asyncio.sleep(0)


async def _page(entries: AsyncIterator[StoredObject], limiter: Limiter) -> list[StoredObject]:
    page: list[StoredObject] = []
    async with limiter.hold(0):
        try:
            async with asyncio.timeout(PAGE_SECONDS):
                async for entry in entries:
                    page.append(entry)
                    if len(page) == _PAGE:
                        break
        except TimeoutError:
            raise StoreUnavailable(
                f"the store returned no page of a listing within {PAGE_SECONDS:g} seconds",
                "Retry; check the store and the network.",
            ) from None
    return page
