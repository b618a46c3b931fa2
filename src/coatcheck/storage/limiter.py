"""A limit on the concurrent operations and bytes of each store."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from coatcheck.contracts.store import Store
from coatcheck.runtime.forks import after_fork, new_lock
from coatcheck.runtime.portal import is_background


@dataclass(slots=True, eq=False)
class _Waiter:
    size: int
    loop: asyncio.AbstractEventLoop
    turn: asyncio.Future[None]
    admitted: bool = False


class Limiter:
    """Admits callers first come, first served, up to a number of operations and a number of bytes.

    Safe to use from several event loops and threads at once. An operation that alone exceeds the bytes is admitted when
    no other is under way.

    Args:
        operations: Maximum number of concurrent operations.
        size: Maximum bytes of all of them together.
    """

    def __init__(self, operations: int, size: int) -> None:
        self._max_operations = operations
        self._max_size = size
        self._lock = new_lock()
        self._renew()
        after_fork(self._renew)

    def _renew(self) -> None:
        self._operations = 0
        self._size = 0
        self._queued = 0
        """Bytes of waiting operations."""
        self._waiting: deque[_Waiter] = deque()

    @property
    def ahead(self) -> int:
        """Bytes of admitted and waiting operations."""
        return self._size + self._queued

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Wait until an operation on ``size`` bytes is admitted, and count it until the block ends."""
        size = min(size, self._max_size)
        await self._acquire(size)
        try:
            yield
        finally:
            self._release(size)

    async def _acquire(self, size: int) -> None:
        loop = asyncio.get_running_loop()
        with self._lock:
            if not self._waiting and self._fits(size):
                self._take(size)
                return
            waiter = _Waiter(size, loop, loop.create_future())
            self._waiting.append(waiter)
            self._queued += size
        try:
            await waiter.turn
        except asyncio.CancelledError:
            with self._lock:
                admitted = waiter.admitted
                if not admitted:
                    self._waiting.remove(waiter)
                    self._queued -= size
            if admitted:
                self._release(size)
            else:
                self._admit()
            raise

    def _release(self, size: int) -> None:
        with self._lock:
            self._operations -= 1
            self._size -= size
        self._admit()

    def _admit(self) -> None:
        """Admit callers from the front of the queue while they fit."""
        while True:
            with self._lock:
                if not self._waiting or not self._fits(self._waiting[0].size):
                    return
                waiter = self._waiting.popleft()
                waiter.admitted = True
                self._queued -= waiter.size
                self._take(waiter.size)
            try:
                waiter.loop.call_soon_threadsafe(_wake, waiter.turn)
            except RuntimeError:  # its event loop is closed, so it will never run
                with self._lock:
                    self._operations -= 1
                    self._size -= waiter.size

    def _fits(self, size: int) -> bool:
        return self._operations < self._max_operations and (
            self._size + size <= self._max_size or self._operations == 0
        )

    def _take(self, size: int) -> None:
        self._operations += 1
        self._size += size


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


class _Limiters:
    """The limiters of all stores in use. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._of: WeakKeyDictionary[Store, tuple[Limiter, Limiter]] = WeakKeyDictionary()
        self._of_background: WeakKeyDictionary[Store, tuple[Limiter, Limiter]] = WeakKeyDictionary()

    def of(self, store: Store) -> tuple[Limiter, Limiter]:
        # A thread that waits for the background loop may hold up a loop that has taken all places, and gives none back.
        of = self._of_background if is_background() else self._of
        with self._lock:
            found = of.get(store)
            if found is None:
                found = of[store] = (
                    Limiter(_OPERATIONS, 256 * 2**20),
                    Limiter(2 * _OPERATIONS, 64 * 2**20),
                )
            return found


_OPERATIONS: Final = 64
"""Enough for over 1,000 operations per second on a store of 50 ms latency; 256 MiB limit their memory."""
_limiters: Final = _Limiters()


def limiter_of(store: Store) -> Limiter:
    """Return the limiter of this store object. Each has its own, so a store that hangs does not block others.

    The background loop of synchronous calls uses another one.
    """
    return _limiters.of(store)[0]


def ahead_limiter_of(store: Store) -> Limiter:
    """Return the store's limiter for prefetching, which must never delay requests that somebody waits for."""
    return _limiters.of(store)[1]
