"""Awaiting something where nothing can be awaited: in sync functions."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from coatcheck.forks import after_fork

_T = TypeVar("_T")


class _Background:
    """One event loop in a thread of its own, for the whole process."""

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
                threading.Thread(target=self._loop.run_forever, name="coatcheck-inngest", daemon=True).start()
            return self._loop


_BACKGROUND: Final = _Background()


def wait_for(work: Coroutine[Any, Any, _T]) -> _T:
    """The result of ``work``, done on another thread's event loop while this thread waits.

    Raises:
        BaseException: What ``work`` raised.
    """
    future = asyncio.run_coroutine_threadsafe(work, _BACKGROUND.loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
