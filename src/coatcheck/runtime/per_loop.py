"""Resources, such as connections, that belong to the event loop that opened them."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar
from weakref import finalize

from coatcheck.runtime.forks import abandon, after_fork
from coatcheck.runtime.portal import is_held_up

_T = TypeVar("_T")


class PerLoop(Generic[_T]):
    """Keeps one resource for each event loop, opened when the loop first asks for it.

    It is closed by :meth:`close`, by the end of its loop (``asyncio.run`` ends the asynchronous generators of its loop),
    or when this object is garbage: whichever comes first. A forked child opens its own and leaves the parent's alone.

    Args:
        opened: An asynchronous generator that yields the resource once and closes it afterwards. It must not await
            anything before it yields, so that two tasks of one loop cannot open two resources.
    """

    def __init__(self, opened: Callable[[], AsyncGenerator[_T, None]]) -> None:
        self._opened = opened
        self._keep_apart()
        after_fork(self._start_anew)

    async def get(self) -> _T:
        """Return the running loop's resource; open it if there is none."""
        loop = asyncio.get_running_loop()
        found = self._resources.get(loop)
        if found is None:
            for ended in [other for other in list(self._resources) if other.is_closed()]:
                self._resources.pop(ended, None)
            holder = self._opened()
            found = (await anext(holder), holder)
            self._resources[loop] = found
        return found[0]

    async def close(self) -> None:
        """Close the resources of all loops, each on its own loop.

        A resource of a loop that waits for this call is closed as soon as that loop continues.
        """
        here = asyncio.get_running_loop()
        for loop in list(self._resources):
            _, holder = self._resources.pop(loop)
            if loop is here:
                await holder.aclose()
            elif loop.is_running():
                closing = asyncio.run_coroutine_threadsafe(_finish(holder), loop)
                if not is_held_up(loop):
                    await asyncio.wrap_future(closing)

    def _keep_apart(self) -> None:
        self._resources: dict[asyncio.AbstractEventLoop, tuple[_T, AsyncGenerator[_T, None]]] = {}
        # The finalizer refers to it as well: the garbage collector finalises the objects of a cycle in any order, and a
        # resource must not go before the generator that closes it.
        self._dropped = finalize(self, self._resources.clear)
        self._dropped.atexit = False

    def _start_anew(self) -> None:
        self._dropped.detach()
        abandon(self._resources)
        self._keep_apart()


async def _finish(holder: AsyncGenerator[_T, None]) -> None:
    await holder.aclose()
