"""Sharing of one call by all who ask for the same thing at the same time."""

import asyncio
from collections.abc import Callable, Coroutine
from copy import copy
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from coatcheck.errors import CoatcheckError
from coatcheck.runtime.portal import on_loop

_T = TypeVar("_T")
_Result = tuple[_T] | Exception | None
"""The result in a tuple; or the error; None if the work was cancelled."""


class SingleFlight(Generic[_T]):
    """Runs one call at a time for each key and event loop; callers that arrive meanwhile get the same result or error.

    The first caller does the work in its own task. If it is cancelled, so is the work, and the next caller starts over.
    """

    def __init__(self) -> None:
        self._flights: WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[str, asyncio.Future[_Result[_T]]]
        ] = WeakKeyDictionary()

    async def run(self, key: str, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Return the result of ``work``, or of the call that is under way for ``key``; raises the error of that call."""
        loop = await on_loop()
        flights = self._flights.setdefault(loop, {})
        outcome: _Result[_T] = None
        while key in flights:
            outcome = await asyncio.shield(flights[key])
            if isinstance(outcome, Exception):
                raise _apart(outcome)
            if outcome is not None:
                return outcome[0]
        flight = flights[key] = loop.create_future()
        try:
            result = await work()
            outcome = (result,)
        except Exception as error:
            outcome = _apart(error)
            raise
        finally:
            del flights[key]
            flight.set_result(outcome)
        return result


def _apart(error: Exception) -> Exception:
    """Return a copy of an error of ours: each caller names its own object in it."""
    return copy(error) if isinstance(error, CoatcheckError) else error
