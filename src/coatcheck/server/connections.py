"""Time limits for a connection: for a silent caller, and for an unread answer.

uvicorn has neither. Its time-out for idle connections starts after the first answer and ends with the first byte of the
next request; a connection that it closes stays open until everything written is read; and ``limit_concurrency`` refuses
everybody while silent connections use it up.
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
    """A wait for the caller, and its timer."""

    since: float
    """Its start, in the loop's time."""
    timer: asyncio.TimerHandle


class Connection(H11Protocol):
    """A connection that drops callers for which it waits longer than uvicorn's ``timeout_keep_alive`` seconds.

    - The head of a request must arrive within that time after the connection was opened, or after the last answer.
    - Each part of an answer, and finally the transport's buffer, must be read within that time.

    Above :data:`~coatcheck.server.limits.CONNECTIONS` the connections that have waited longest for their callers are closed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request: _Wait | None = None
        """The wait for a request; None while one is in progress."""
        self._reader: _Wait | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for a request; close idle connections above the limit."""
        super().connection_made(transport)
        excess = len(self.connections) - CONNECTIONS
        if excess > 0:
            if _seldom.is_due("connections"):
                _log.warning(
                    "more than %d connections: closing those that have been idle longest", CONNECTIONS
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
        """The time since which it has waited for its caller, in the loop's time; None while it waits for the server."""
        return min((wait.since for wait in (self._request, self._reader) if wait), default=None)

    def drop(self) -> None:
        """Close at once, discarding unread data."""
        # The set is what is counted; uvicorn updates it only in the loop's next iteration.
        self.connections.discard(self)
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all waiting."""
        self._stop_waiting_for_request()
        self._stop_waiting_for_reader()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Handle received data; stop waiting if it started a request."""
        super().handle_events()
        if self.cycle and not self.cycle.response_complete:
            self._stop_waiting_for_request()

    def on_response_complete(self) -> None:
        """Start to wait for the next request, and for the caller to read the rest of the answer."""
        self._await_request()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse data that is not HTTP; the caller must read the answer in time."""
        super().send_400_response(msg)
        self._await_request()

    def pause_writing(self) -> None:
        """Start to wait for the caller to read."""
        super().pause_writing()
        self._reader = self._wait(self._drop_reader)

    def resume_writing(self) -> None:
        """Stop waiting: the caller has read."""
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
        _log.warning("dropped a caller that did not read its answer for %d seconds", self.timeout_keep_alive)
        self.drop()
