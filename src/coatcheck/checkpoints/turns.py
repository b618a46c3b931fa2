"""A fair lock across event loops and threads."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager

from coatcheck.runtime.forks import after_fork, new_lock


class Turns:
    """A lock for tasks of several event loops, first come, first served. A cancelled waiter gives its place to the next."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._last: Future[None] | None = None
        after_fork(self._renew)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for all earlier turns; block later ones until the block ends."""
        mine: Future[None] = Future()
        with self._lock:
            before, self._last = self._last, mine
        try:
            if before is not None and not before.done():
                await asyncio.wait({asyncio.wrap_future(before)})
            yield
        finally:
            if before is None or before.done():
                mine.set_result(None)
            else:
                before.add_done_callback(lambda _: mine.set_result(None))

    def _renew(self) -> None:
        # A turn of the parent process ends there.
        self._last = None
