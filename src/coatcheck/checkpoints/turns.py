"""A fair lock across event loops and threads."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from coatcheck.errors import ConfigError
from coatcheck.runtime.forks import after_fork, new_lock
from coatcheck.runtime.portal import is_held_up, on_loop


@dataclass(slots=True, eq=False)
class _Turn:
    loop: asyncio.AbstractEventLoop
    before: "_Turn | None"
    """The one that it waits for, or waited for."""
    over: Future[None] = field(default_factory=Future)


class Turns:
    """A lock for tasks of several event loops, first come, first served. A cancelled waiter gives its place to the next."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._last: _Turn | None = None
        after_fork(self._renew)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for all earlier turns; block later ones until the block ends.

        Raises:
            ConfigError: An earlier turn belongs to an event loop that waits for this synchronous call, and so would never end.
        """
        loop = await on_loop()
        with self._lock:
            before = self._last
            _check(before)
            mine = self._last = _Turn(loop, before)
        try:
            if before is not None and not before.over.done():
                await asyncio.wait({asyncio.wrap_future(before.over)})
            yield
        finally:
            mine.before = None
            if before is None or before.over.done():
                mine.over.set_result(None)
            else:
                before.over.add_done_callback(lambda _: mine.over.set_result(None))

    def _renew(self) -> None:
        # A turn of the parent process ends there.
        self._last = None


def _check(turn: _Turn | None) -> None:
    while turn is not None and not turn.over.done():
        if is_held_up(turn.loop):
            raise ConfigError(
                "this call waits for one that is under way on the event loop which it holds up",
                "Use the asynchronous method there, and await it.",
            )
        turn = turn.before
