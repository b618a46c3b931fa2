"""Many who want the same thing at the same time cause it to be done once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

_T = TypeVar("_T")


class SingleFlight(Generic[_T]):
    """One call at a time for each key and event loop; whoever asks meanwhile gets the same result or error.

    The work is cancelled when the last who waits for it is.
    """

    def __init__(self) -> None:
        self._flights: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Flight[_T]]] = (
            WeakKeyDictionary()
        )

    async def run(self, key: str, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """The result of ``work``, or of the call of it that is under way for ``key``."""
        flights = self._flights.setdefault(asyncio.get_running_loop(), {})
        flight = flights.get(key)
        if flight is None:
            flight = flights[key] = _Flight(asyncio.ensure_future(work()))
            flight.task.add_done_callback(lambda _: flights.pop(key, None))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                flights.pop(key, None)
                flight.task.cancel()


class _Flight(Generic[_T]):
    def __init__(self, task: "asyncio.Task[_T]") -> None:
        self.task = task
        self.waiting = 0
