"""Calls to a store: limited, retried, and bounded in time."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from coatcheck.contracts.store import DEFAULT_LIMIT, Store, StoredObject
from coatcheck.errors import LimitExceeded, PayloadNotFound, StoreDenied
from coatcheck.runtime.portal import on_loop
from coatcheck.runtime.retry import no_answer, retry
from coatcheck.storage.limiter import Limiter, limiter_of
from coatcheck.telemetry import StoreCall

_T = TypeVar("_T")

DEFAULT_DEADLINE: Final = 8.0
"""Seconds: less than Temporal's workflow task time-out of 10 s, so that an error can still be reported."""
_SLOWEST: Final = 2**20
"""Bytes per second. No call is given up while its bytes flow faster."""
_SLOWEST_QUEUE: Final = 16 * 2**20
"""Bytes per second at which a queue of many calls is expected to move."""
PAGE: Final = 1000
"""Objects in one page of a listing, as from S3, GCS and most others."""


class StoreClient:
    """A store whose calls are limited, retried (:func:`~coatcheck.runtime.retry.retry`) and measured.

    One object does all three, since one deadline covers the wait in the queue and all attempts. For any number of event
    loops.

    Args:
        store: The store; called once per attempt.
        deadline: Seconds for one call, including all attempts and the wait in the queue; more for many bytes
            (:meth:`seconds_for`).
        limiter: Admits each attempt; by default the store's own.
    """

    def __init__(
        self, store: Store, deadline: float = DEFAULT_DEADLINE, limiter: Limiter | None = None
    ) -> None:
        self.store = store
        self._deadline = deadline
        self._limiter = limiter

    @property
    def limiter(self) -> Limiter:
        """The limiter that admits the calls."""
        return self._limiter or limiter_of(self.store)

    def seconds_for(self, size: int) -> float:
        """Return the seconds that a call may take from now: the deadline, and time for its bytes and those before it."""
        return self._deadline + size / _SLOWEST + self.limiter.ahead / _SLOWEST_QUEUE

    @asynccontextmanager
    async def within(self, size: int, begun: float | None = None) -> AsyncIterator[None]:
        """Limit the time of several calls in sequence to that of one call of ``size`` bytes.

        Args:
            size: Bytes of all of them together.
            begun: Start of the first call in seconds of ``time.monotonic``; None for now.

        Raises:
            StoreUnavailable: They took longer.
        """
        await on_loop()
        seconds = self.seconds_for(size)
        timeout = asyncio.timeout(seconds if begun is None else seconds - (time.monotonic() - begun))
        try:
            async with timeout:
                yield
        except TimeoutError as error:
            if not timeout.expired():
                raise
            raise no_answer("the store", seconds) from error

    async def create(self, key: str, data: bytes) -> bool:
        """See :meth:`Store.create`. Returns ``False`` also if an attempt succeeded and its answer was lost."""
        with StoreCall("create", self.store) as call:
            created = await self._call(len(data), lambda: self.store.create(key, data))
            call.size = len(data)
            return created

    async def replace(self, key: str, data: bytes) -> None:
        """See :meth:`Store.replace`."""
        with StoreCall("replace", self.store) as call:
            await self._call(len(data), lambda: self.store.replace(key, data))
            call.size = len(data)

    async def get(self, key: str, size: int, limit: int = DEFAULT_LIMIT) -> bytes:
        """See :meth:`Store.get`.

        Args:
            key: The object's key.
            size: Bytes that the object is expected to have, for the limiter and the deadline.
            limit: Bytes that it may have.
        """
        with StoreCall("get", self.store) as call:
            data = await self._call(size, lambda: self.store.get(key, limit))
            call.size = len(data)
            return data

    async def get_admitted(self, key: str, size: int, limit: int) -> bytes:
        """Get an object as :meth:`get` does, for a caller that another limiter has admitted."""
        with StoreCall("get", self.store) as call:
            await on_loop()
            data = await retry(lambda: self.store.get(key, limit), self.seconds_for(size))
            call.size = len(data)
            return data

    async def get_uncached(self, key: str, size: int, limit: int = DEFAULT_LIMIT) -> bytes:
        """See :meth:`Store.get_uncached`; the arguments are those of :meth:`get`."""
        with StoreCall("get", self.store) as call:
            data = await self._call(size, lambda: self.store.get_uncached(key, limit))
            call.size = len(data)
            return data

    async def delete(self, key: str) -> None:
        """See :meth:`Store.delete`."""
        with StoreCall("delete", self.store):
            await self._call(0, lambda: self.store.delete(key))

    async def delete_versions(self, prefix: str) -> None:
        """See :meth:`Store.delete_versions`."""
        with StoreCall("delete", self.store):
            await self._call(0, lambda: self.store.delete_versions(prefix))

    async def forget(self, key: str) -> None:
        """See :meth:`Store.forget`."""
        await on_loop()
        await self.store.forget(key)

    async def list_first(self, prefix: str, count: int) -> list[StoredObject]:
        """See :meth:`Store.list_first`."""
        with StoreCall("list", self.store):
            return await self._call(0, lambda: self.store.list_first(prefix, count))

    async def is_there(self, key: str) -> bool:
        """Return True if the store itself has the object, whatever its content. Raises as :meth:`list_first`."""
        try:
            # A listing does not include copies and replicas.
            return any(entry.key == key for entry in await self.list_first(key, 1))
        except StoreDenied:
            pass
        try:
            await self.get_uncached(key, 0, 0)
        except LimitExceeded:
            return True
        except (PayloadNotFound, StoreDenied):
            # Without the permission to list, S3 answers "denied" for a missing object.
            return False
        return True

    async def pages(self, prefix: str) -> AsyncGenerator[list[StoredObject], None]:
        """Yield pages of up to 1,000 objects from :meth:`Store.list_objects`. The deadline applies to each page.

        Only the first page is retried. If a later one fails, the caller has to decide if the listing starts over.
        """

        async def begin() -> tuple[list[StoredObject], AsyncIterator[StoredObject]]:
            listing = self.store.list_objects(prefix)
            return await _taken(listing, PAGE), listing

        with StoreCall("list", self.store):
            page, listing = await self._call(0, begin)
        yield page
        while len(page) == PAGE:
            with StoreCall("list", self.store):
                async with self.within(0), self.limiter.hold(0):
                    page = await _taken(listing, PAGE)
            yield page

    async def list_up_to(self, count: int, prefix: str) -> list[StoredObject]:
        """Return the first ``count`` objects of :meth:`Store.list_objects`."""
        with StoreCall("list", self.store):
            return await self._call(0, lambda: _taken(self.store.list_objects(prefix), count))

    async def close(self) -> None:
        """See :meth:`Store.close`."""
        await on_loop()
        await self.store.close()

    async def _call(self, size: int, attempt: Callable[[], Awaitable[_T]]) -> _T:
        await on_loop()
        return await retry(attempt, self.seconds_for(size), admission=lambda: self.limiter.hold(size))


async def _taken(listing: AsyncIterator[StoredObject], count: int) -> list[StoredObject]:
    """Take the next ``count`` entries of a listing; the next call continues after them."""
    found: list[StoredObject] = []
    async for entry in listing:
        found.append(entry)
        if len(found) == count:
            break
    return found
