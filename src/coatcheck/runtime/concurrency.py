"""Helpers to keep the event loop free and to work on many payloads at once."""

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
"""Bytes. Compressing and sealing smaller payloads takes less than the 30-100 us that a hop to a thread costs."""
DECODE_INLINE_UP_TO: Final = 128 * 1024
"""Bytes. Opening and decompressing is about three times as fast as compressing and sealing."""


class Threads:
    """A thread pool that survives a fork: the child gets a new one.

    Args:
        count: Maximum number of threads.
        name: Prefix of the threads' names.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self.renew()
        # Threads do not survive a fork, and their executor does not notice.
        after_fork(self.renew)

    def renew(self) -> None:
        """Replace the pool by a new one."""
        self.pool = ThreadPoolExecutor(self._count, thread_name_prefix=self._name)


_cores: Final = Threads(os.cpu_count() or 1, "coatcheck")
"""One thread per core: more would only keep more compressors in memory, some megabytes each."""

_inline: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()
"""Bytes that each event loop has worked on in its current iteration."""


async def off_loop(size: int, limit: int, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call ``work`` on the event loop, or in a thread if that would block the loop; in the caller's context either way.

    The thread of a synchronous call (:mod:`coatcheck.runtime.portal`) does what an event loop would do itself.

    Args:
        size: Bytes that ``work`` processes.
        limit: Bytes that the loop may process in one iteration, all calls together.
        work: A thread-safe function.
        *args: Arguments for ``work``.
        **kwargs: Arguments for ``work``.
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
    """Await all coroutines concurrently and return their results in the given order.

    The first error cancels the others and is raised, unwrapped, when they have ended.
    """
    await on_loop()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(item) for item in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
