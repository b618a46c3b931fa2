"""How fast a sweep may ask the store."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from coatcheck.contracts import Store, StoredObject
from coatcheck.errors import ConfigError
from coatcheck.storage.limiter import Limiter

_PAGE: Final = 1000
"""Objects that come with one request of a listing: what S3 and GCS give."""
_AT_ONCE: Final = 64


class Pace(Limiter):
    """Also limits how much is begun in a second. For one event loop; first come, first served.

    Args:
        requests_per_second: At most.

    Raises:
        ConfigError: It is not above zero.
    """

    def __init__(self, requests_per_second: float) -> None:
        if not requests_per_second > 0:
            raise ConfigError(f"{requests_per_second:g} requests a second never end", "Allow more than none.")
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
    """A listing that asks the limiter before each page."""
    count = 0
    async with limiter.hold(0):
        pass
    async for entry in store.list_objects(prefix):
        yield entry
        count += 1
        if count % _PAGE == 0:
            async with limiter.hold(0):
                pass
