"""How the core calls a store: within the process's limits, and again if it may help."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Final, TypeVar

from coatcheck.contracts import DEFAULT_LIMIT, Store, StoredObject
from coatcheck.errors import StoreUnavailable
from coatcheck.storage.limiter import PROCESS_LIMITER, Limiter
from coatcheck.telemetry import StoreCall

_T = TypeVar("_T")

DEFAULT_DEADLINE: Final = 8.0
"""Seconds: inside Temporal's workflow task time-out of 10 s, so that an error can still be reported."""
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0


class Access:
    """A store behind one retry policy and the process-wide limiter.

    ``StoreUnavailable`` is retried with exponential back-off and full jitter ("Exponential Backoff And Jitter", AWS
    Architecture Blog, 2015), never sooner than the store asked for, until the deadline of the whole call would pass.
    All other errors are raised at once.

    Args:
        store: Called once an attempt.
        deadline: Seconds for one call with all its attempts, from when the limiter first admits it.
        limiter: Admits each attempt; None where the caller sees to that.
    """

    def __init__(
        self, store: Store, deadline: float = DEFAULT_DEADLINE, limiter: Limiter | None = PROCESS_LIMITER
    ) -> None:
        self.store = store
        self._deadline = deadline
        self._limiter = limiter

    def without_limiter(self) -> "Access":
        """The same store and deadline, for a caller that has a limiter of its own."""
        return Access(self.store, self._deadline, None)

    async def create(self, key: str, data: bytes) -> bool:
        """See :meth:`Store.create`; ``False`` also where an attempt succeeded and its answer was lost."""
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
        """See :meth:`Store.get`; ``size`` is what it will come to, in bytes, for the limiter."""
        with StoreCall("get", self.store) as call:
            data = await self._call(size, lambda: self.store.get(key, limit))
            call.size = len(data)
            return data

    async def get_uncached(self, key: str, size: int, limit: int = DEFAULT_LIMIT) -> bytes:
        """See :meth:`Store.get_uncached`, and :meth:`get` for ``size``."""
        with StoreCall("get", self.store) as call:
            data = await self._call(size, lambda: self.store.get_uncached(key, limit))
            call.size = len(data)
            return data

    async def delete(self, key: str) -> None:
        """See :meth:`Store.delete`."""
        with StoreCall("delete", self.store):
            await self._call(0, lambda: self.store.delete(key))

    async def forget(self, key: str) -> None:
        """See :meth:`Store.forget`."""
        await self.store.forget(key)

    async def list_first(self, prefix: str, count: int) -> list[StoredObject]:
        """See :meth:`Store.list_first`."""
        with StoreCall("list", self.store):
            return await self._call(0, lambda: self.store.list_first(prefix, count))

    async def list_up_to(self, count: int, prefix: str) -> list[StoredObject]:
        """The first ``count`` objects that :meth:`Store.list_objects` gives."""

        async def collect() -> list[StoredObject]:
            found: list[StoredObject] = []
            async for entry in self.store.list_objects(prefix):
                found.append(entry)
                if len(found) == count:
                    break
            return found

        with StoreCall("list", self.store):
            return await self._call(0, collect)

    async def close(self) -> None:
        """See :meth:`Store.close`."""
        await self.store.close()

    async def _call(self, size: int, attempt: Callable[[], Awaitable[_T]]) -> _T:
        return await retried(attempt, self._deadline, limiter=self._limiter, size=size)


async def retried(
    attempt: Callable[[], Awaitable[_T]],
    deadline: float,
    *,
    limiter: Limiter | None = None,
    size: int = 0,
    what: str = "the store",
) -> _T:
    """Call ``attempt`` until it gives something else than ``StoreUnavailable``: the policy of :class:`Access`.

    Args:
        attempt: Called once an attempt.
        deadline: Seconds for all of them together, from when the limiter first admits one.
        limiter: Admits each attempt.
        size: Bytes that an attempt comes to, for the limiter.
        what: Who is called, for the error.

    Raises:
        StoreUnavailable: The last attempt raised it, or there was no answer before the deadline.
    """
    loop = asyncio.get_running_loop()
    end: float | None = None
    for number in itertools.count():
        timeout = asyncio.timeout_at(end)
        try:
            async with timeout, limiter.hold(size) if limiter else nullcontext():
                if end is None:
                    end = loop.time() + deadline
                    timeout.reschedule(end)
                return await attempt()
        except TimeoutError as error:
            if not timeout.expired():
                raise
            raise StoreUnavailable(
                f"{what} gave no answer within {deadline:g} seconds",
                "Check the store and the network; Offload(deadline=...) sets how long to wait.",
            ) from error
        except StoreUnavailable as error:
            pause = random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**number))  # noqa: S311 - spreads load, hides nothing
            pause = max(pause, error.retry_after or 0)
            if end is None or loop.time() + pause >= end:
                raise
        await asyncio.sleep(pause)
    raise AssertionError("unreachable")
