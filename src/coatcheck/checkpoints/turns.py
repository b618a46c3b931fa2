"""One after the other, in the order of asking, whichever event loop and thread asks."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager

from coatcheck.runtime.forks import after_fork, new_lock


class Turns:
    """A lock for the tasks of several event loops. Who is cancelled while it waits lets the next one wait in its place."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._last: Future[None] | None = None
        after_fork(self._renew)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the turns that were asked for before, and hold the next ones up until the block ends."""
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
        # Whoever has its turn in the parent ends it there.
        self._last = None
