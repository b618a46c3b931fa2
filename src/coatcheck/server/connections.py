"""One connection of a caller: how long the caller may be silent, and how long an answer may lie unread.

uvicorn gives neither a bound. Its time-out for idle connections starts after the first answer and ends with the first byte of the
next request; what it closes stays open until all that was written is read; and ``limit_concurrency`` turns everybody
away while silent connections fill it.
"""

import asyncio
import heapq
import logging
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from uvicorn.protocols.http.h11_impl import H11Protocol

from coatcheck.server.limits import CONNECTIONS
from coatcheck.server.seldom import Seldom

_log = logging.getLogger("coatcheck.server")
_seldom: Final = Seldom()


class _Wait(NamedTuple):
    """A wait for the caller, and what ends it."""

    since: float
    """In the loop's time."""
    timer: asyncio.TimerHandle


class Connection(H11Protocol):
    """Drops callers that keep it waiting for longer than uvicorn's ``timeout_keep_alive``, in seconds.

    - The head of a request has to be there that long after the connection was made, or after the last answer.
    - While an answer is sent, each part of it, and after it what the transport still holds, has to be taken in that time.

    Above :data:`~coatcheck.server.limits.CONNECTIONS` those that have waited for their callers for longest make room.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request: _Wait | None = None
        """None while one is under way."""
        self._reader: _Wait | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for a request, and make room for it."""
        super().connection_made(transport)
        excess = len(self.connections) - CONNECTIONS
        if excess > 0:
            if _seldom.is_due("connections"):
                _log.warning(
                    "%d connections are open: those that wait for their callers make room", CONNECTIONS
                )
            waiting = {
                one: one.waits_since
                for one in self.connections
                if isinstance(one, Connection) and one.waits_since
            }
            for longest in heapq.nsmallest(excess, waiting, key=waiting.__getitem__):
                longest.drop()
        self._await_request()

    @property
    def waits_since(self) -> float | None:
        """Since when it has waited for its caller, in the loop's time; None while it is the server's turn."""
        return min((wait.since for wait in (self._request, self._reader) if wait), default=None)

    def drop(self) -> None:
        """Close at once, whatever has not been read."""
        # The set is what is counted; uvicorn takes it out in the loop's next turn.
        self.connections.discard(self)
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all waiting."""
        self._stop_waiting_for_request()
        self._stop_waiting_for_reader()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Take in what was received; stop waiting where that began a request."""
        super().handle_events()
        if self.cycle and not self.cycle.response_complete:
            self._stop_waiting_for_request()

    def on_response_complete(self) -> None:
        """Start to wait for the next request, and for the rest of the answer to be read."""
        self._await_request()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; the answer has to be read in time."""
        super().send_400_response(msg)
        self._await_request()

    def pause_writing(self) -> None:
        """Start to wait for what was written to be read."""
        super().pause_writing()
        self._reader = self._wait(self._drop_reader)

    def resume_writing(self) -> None:
        """Go on: it was read."""
        self._stop_waiting_for_reader()
        super().resume_writing()

    def _await_request(self) -> None:
        self._stop_waiting_for_request()
        self._request = self._wait(self.drop)

    def _stop_waiting_for_request(self) -> None:
        if self._request:
            self._request.timer.cancel()
            self._request = None

    def _stop_waiting_for_reader(self) -> None:
        if self._reader:
            self._reader.timer.cancel()
            self._reader = None

    def _wait(self, give_up: Callable[[], None]) -> _Wait:
        return _Wait(self.loop.time(), self.loop.call_later(self.timeout_keep_alive, give_up))

    def _drop_reader(self) -> None:
        _log.warning("dropped a caller that did not take its answer for %d seconds", self.timeout_keep_alive)
        self.drop()
