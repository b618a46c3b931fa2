"""Keeping the event loop free, and many payloads going at once."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from coatcheck.runtime.forks import after_fork
from coatcheck.runtime.portal import on_loop

_P = ParamSpec("_P")
_T = TypeVar("_T")

ENCODE_INLINE_UP_TO: Final = 48 * 1024
"""Bytes. Below, compressing and sealing take less than the 30-100 us that a hop to a thread costs."""
DECODE_INLINE_UP_TO: Final = 128 * 1024
"""Bytes. Opening and decompressing are about three times as fast as the way in."""


class Threads:
    """Threads that outlive a fork: a child has as many of its own.

    Args:
        count: The most of them.
        name: What their names begin with.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self.renew()
        # Threads do not survive a fork, and their executor would never notice.
        after_fork(self.renew)

    def renew(self) -> None:
        """Start anew, without those that there were."""
        self.pool = ThreadPoolExecutor(self._count, thread_name_prefix=self._name)


_cores: Final = Threads(os.cpu_count() or 1, "coatcheck")
"""As many as there are cores: more would only hold more compressors, of some megabytes each."""

_inline: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()
"""Bytes that each event loop has worked on in its present turn."""


async def off_loop(size: int, limit: int, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call ``work`` on the event loop, or in a thread if that would hold the loop up; in the caller's context either way.

    The thread of a synchronous call (:mod:`coatcheck.runtime.portal`) does what an event loop would do itself.

    Args:
        size: Bytes that ``work`` is about.
        limit: Bytes that the loop may work on in one of its turns, all calls of that turn together.
        work: Thread-safe.
        *args: For ``work``.
        **kwargs: For ``work``.
    """
    if size <= limit and asyncio._get_running_loop() is None:  # noqa: SLF001 - as asyncio's own run() asks
        return work(*args, **kwargs)
    loop = await on_loop()
    before = _inline.get(loop, 0)
    if before + size > limit:
        return await loop.run_in_executor(_cores.pool, partial(copy_context().run, work, *args, **kwargs))
    if not before:
        loop.call_soon(_inline.pop, loop, 0)
    _inline[loop] = before + size
    return work(*args, **kwargs)


async def all_at_once(work: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Await everything concurrently; results in the order given.

    The first error cancels the rest, waits for them, and is raised as it is.
    """
    await on_loop()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(item) for item in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
