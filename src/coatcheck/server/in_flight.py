"""Bytes in flight: a bound on the memory of all requests and answers together."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count


class Room:
    """A budget of bytes. For one event loop.

    Args:
        size: Bytes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = size
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = count()

    @property
    def taken(self) -> int:
        """Bytes that are taken now."""
        return self.size - self._free

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[Callable[[int], None]]:
        """Wait for room for ``size`` bytes and keep it until the block ends; yield a function that gives back a part earlier.

        The smallest waiting request goes first, so that small answers pass while large ones wait for readers. A ``size``
        above the budget counts as the whole budget.
        """
        left = min(size, self.size)
        await self._take(left)

        def give_back(part: int) -> None:
            nonlocal left
            part = min(part, left)
            left -= part
            self._give_back(part)

        try:
            yield give_back
        finally:
            self._give_back(left)

    @contextmanager
    def growing(self) -> Iterator[Callable[[int], bool]]:
        """Take room for bytes as they arrive, until the block ends; never waits.

        Yields a function that takes room for a number of bytes, and returns False if there is none.
        """
        taken = 0

        def take(size: int) -> bool:
            nonlocal taken
            if size > self._free:
                return False
            self._free -= size
            taken += size
            return True

        try:
            yield take
        finally:
            self._give_back(taken)

    async def _take(self, size: int) -> None:
        if size <= self._free:
            self._free -= size
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (size, next(self._arrivals), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(size)
            raise

    def _give_back(self, size: int) -> None:
        self._free += size
        while self._waiting:
            wanted, _, turn = self._waiting[0]
            if not turn.done():
                if wanted > self._free:
                    return
                self._free -= wanted
                turn.set_result(None)
            heapq.heappop(self._waiting)
