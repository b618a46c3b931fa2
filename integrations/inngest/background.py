"""Awaiting something where nothing can be awaited: in sync functions, and where an event loop is held up."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from coatcheck.errors import ConfigError
from coatcheck.runtime.forks import after_fork
from coatcheck.storage.limiter import set_apart

_T = TypeVar("_T")


class _Background:
    """One event loop in a thread of its own, for the whole process, which waits for no other event loop.

    The loop that is held up meanwhile may have all places to a store taken by what it cannot finish now.
    """

    def __init__(self) -> None:
        self.renew()
        # Threads do not survive a fork.
        after_fork(self.renew)

    def renew(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                set_apart(self._loop)
                threading.Thread(target=self._loop.run_forever, name="coatcheck-inngest", daemon=True).start()
            return self._loop


_BACKGROUND: Final = _Background()


def wait_for(work: Coroutine[Any, Any, _T]) -> _T:
    """Return the result of ``work``, done on another thread's event loop while this thread waits.

    Raises:
        ConfigError: This is that very thread: it would wait for itself.
        BaseException: What ``work`` raised.
    """
    loop = _BACKGROUND.loop()
    if asyncio._get_running_loop() is loop:  # noqa: SLF001 - as asyncio's own run() asks
        work.close()
        raise ConfigError(
            "this is called where coatcheck itself waits for it", "Use the asynchronous method, and await it."
        )
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
