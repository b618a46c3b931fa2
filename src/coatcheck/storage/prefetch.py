"""Fetching the objects of a scope before they are asked for.

A replay asks for one payload after the other, so a cold worker would make one round trip a step. At the first object
that it lacks, the scope is listed; at the second, since one may be all that somebody wants, the objects that were
written after it are fetched in that order, in a window that moves with the replay.

Nobody knows beforehand how large a scope is, nor whether it is replayed at all. So both begin small and double as long as it
pays, as TCP does (RFC 5681, "slow start"): pages of the listing with each miss, objects in the window with each hit.
"""

import asyncio
import bisect
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextvars import Context
from typing import Any, Final
from weakref import WeakSet

from coatcheck.contracts.store import StoredObject
from coatcheck.errors import CoatcheckError, StoreDenied
from coatcheck.format.wire import OBJECT_ID_LENGTH
from coatcheck.runtime.clock import boottime
from coatcheck.runtime.portal import on_loop
from coatcheck.runtime.single_flight import SingleFlight
from coatcheck.storage.client import PAGE, StoreClient
from coatcheck.storage.limiter import ahead_limiter_of
from coatcheck.storage.scope_state import ScopeState, Window
from coatcheck.storage.sweep_marks import SWEEP_MARK

_WINDOW_SIZE: Final = 32 * 2**20
"""Bytes fetched ahead and not yet asked for, for one scope."""
_LEAST_WIDTH: Final = 8
_FIRST_WIDTH: Final = 64
_FULL_WIDTH: Final = 1024
"""Objects fetched ahead and not yet asked for."""
_PAGES_REPLAYED: Final = 4
"""Pages of a listing that the engine's word for a replay is worth."""
_MAX_PAGES: Final = 20
"""A larger scope is not a run that is being replayed."""
_SHARE_OF_DEADLINE: Final = 0.25
"""The share of a call's deadline for which somebody waits for a listing, which only saves time."""
_IDLE: Final = 60.0
"""Seconds after which nobody will ask for what was fetched ahead."""
_ENTRY_COST: Final = 400
"""Bytes of memory for an entry of a listing."""
_WINDOW_COST: Final = 4096

_log = logging.getLogger("coatcheck")
_fetching: Final[dict[asyncio.AbstractEventLoop, "WeakSet[ScopeState]"]] = {}
"""The scopes in which an event loop has fetched ahead."""


class Prefetch:
    """The objects of one store. For any number of event loops; each has windows of its own.

    Args:
        client: The store.
        limit: Bytes; larger objects than that are none of the chain's, and are not fetched.
    """

    def __init__(self, client: StoreClient, limit: int) -> None:
        self._client = client
        self._limit = limit
        self._denied = False
        # Payloads that are opened at the same time build on the same objects.
        self._getting: SingleFlight[bytes] = SingleFlight()

    async def get(self, state: ScopeState, object_id: bytes, size: int, limit: int, *, follow: bool) -> bytes:
        """Return the object, from what was fetched ahead or from the store; raises as :meth:`StoreClient.get`.

        Args:
            state: The scope that the object is in.
            object_id: Its id.
            size: Bytes that it will likely come to.
            limit: Bytes that it may come to.
            follow: Whether to fetch on from it.
        """
        await on_loop()
        key = state.key(object_id)
        window = self._window_of(state)
        ahead = window.take(key) if window else None
        if window and follow:
            window.follow(key, missed=ahead is None)
        return await self._getting.run(key, lambda: self._get(ahead, key, size, limit))

    async def _get(self, ahead: asyncio.Task[bytes] | None, key: str, size: int, limit: int) -> bytes:
        if ahead is not None:
            try:
                return await asyncio.shield(ahead)
            except CoatcheckError:
                pass
            except asyncio.CancelledError:
                ahead.cancel()
                raise
        return await self._client.get(key, size, limit)

    async def wait_for_listing(self, state: ScopeState) -> None:
        """Wait a moment for a listing of the scope that is under way, so that what it finds is not written again.

        Of a scope that is replayed, and of which nothing is known, a listing is begun.
        """
        if state.is_replayed and state.is_cold:
            await on_loop()
            window = self._window_of(state)
        else:
            loop = asyncio._get_running_loop()  # noqa: SLF001 - as asyncio's own run() asks
            window = None if loop is None else state.windows.get(loop)
        if window is not None:
            await window.listed(self._client.seconds_for(0) * _SHARE_OF_DEADLINE)

    async def list_scope(self, state: ScopeState) -> None:
        """Wait a moment for the listing of the scope; begin one, unless there was one before."""
        await on_loop()
        window = self._window_of(state)
        if window is not None:
            await window.listed(self._client.seconds_for(0) * _SHARE_OF_DEADLINE)

    async def close(self, states: Iterable[ScopeState]) -> None:
        """Give up what is under way for these scopes on this event loop."""
        loop = await on_loop()
        windows = [window for state in states if (window := state.windows.pop(loop, None)) is not None]
        await asyncio.gather(
            *(task for window in windows for task in window.give_up()), return_exceptions=True
        )

    def _window_of(self, state: ScopeState) -> Window | None:
        if self._denied:
            return None
        loop = asyncio.get_running_loop()
        window = state.windows.get(loop)
        if window is None:
            _forget_closed_loops()
            window = state.windows[loop] = _Window(state, self._client, self._limit, self._deny)
            _fetching.setdefault(loop, WeakSet()).add(state)
        return window

    def _deny(self, error: StoreDenied) -> None:
        if not self._denied:
            self._denied = True
            _log.warning("The store may not be listed, so replays fetch one object at a time: %s", error)


class _Window:
    """Part of one scope that is fetched ahead on one event loop, which is the only one to use it."""

    def __init__(
        self,
        state: ScopeState,
        client: StoreClient,
        limit: int,
        denied: Callable[[StoreDenied], None],
    ) -> None:
        self._state = state
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._limit = limit
        self._denied = denied
        self._from_start = state.is_replayed
        self._width = _FULL_WIDTH if state.is_replayed else _FIRST_WIDTH

        self._pages: AsyncGenerator[list[StoredObject], None] = client.pages(state.prefix)
        self._pages_wanted = _PAGES_REPLAYED if state.is_replayed else 1
        self._pages_read = 0
        self._begun = boottime()
        self._order: list[StoredObject] = []
        """By when they were written, once all are listed."""
        self._position: dict[str, int] = {}
        self._is_listed = False
        """True if the listing came to its end, or was given up."""
        self._listing = self._in_background(self._list())

        self._ahead: dict[str, asyncio.Task[bytes]] = {}
        self._under_way: set[str] = set()
        self._ahead_size = 0
        self._asked: set[str] = set()
        self._next = 0
        self._followed = 0
        self._last_asked = ""
        self._used = self._loop.time()
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def cost(self) -> int:
        """Bytes of memory that it takes, roughly."""
        return _WINDOW_COST + len(self._order) * _ENTRY_COST + self._ahead_size

    async def listed(self, seconds: float) -> None:
        """Wait until as much is listed as is wanted now, or for so many seconds."""
        if not self._listing.done():
            await asyncio.wait({self._listing}, timeout=seconds)

    def take(self, key: str) -> asyncio.Task[bytes] | None:
        """Return the task that fetches the object ahead, now the caller's own; None if the store has to be asked."""
        self._asked.add(key)
        fetch = self._ahead.pop(key, None)
        if fetch is None:
            return None
        self._ahead_size -= self._order[self._position[key]].size
        if key not in self._under_way:
            fetch.cancel()  # it is still in the queue of those that nobody waits for
            return None
        return fetch

    def follow(self, key: str, *, missed: bool) -> None:
        """Fetch on from where the replay is now.

        Args:
            key: What was asked for last.
            missed: It had not been fetched ahead: the window is not where the replay is.
        """
        self._last_asked = key
        self._followed += 1
        self._used = self._loop.time()
        if self._followed == 1:
            return
        if not self._is_listed:
            self._list_more()
        elif not missed:
            self._width = min(2 * self._width, _FULL_WIDTH)
        elif self._next:
            self._width = max(self._width // 4, _LEAST_WIDTH)
        self._move(missed=missed)

    def give_up(self) -> list[asyncio.Future[object]]:
        """Cancel what is under way, and return it."""
        tasks: list[asyncio.Future[object]] = [self._listing, *self._ahead.values()]  # type: ignore[list-item]
        for task in tasks:
            task.cancel()
        self._ahead.clear()
        self._ahead_size = 0
        self._is_listed = True
        return tasks

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # With a context of its own: it goes on when the call is over that it began in.
        return self._loop.create_task(work, context=Context())

    def _list_more(self) -> None:
        if self._listing.done() and self._pages_wanted < _MAX_PAGES:
            self._pages_wanted = min(2 * self._pages_wanted, _MAX_PAGES)
            self._listing = self._in_background(self._list())

    async def _list(self) -> None:
        try:
            while self._pages_read < self._pages_wanted:
                page = await anext(self._pages, None)
                if page is None:
                    self._complete()
                    return
                self._pages_read += 1
                self._take_in(page)
            if self._pages_read >= _MAX_PAGES:
                self._end_listing()
        except StoreDenied as error:
            self._denied(error)
            self._end_listing()
        except CoatcheckError:
            self._end_listing()

    def _take_in(self, page: list[StoredObject]) -> None:
        """Learn from a page. Keys come in order, so what lies behind a sweep's mark was seen after a look for that."""
        state = self._state
        mark = state.prefix + SWEEP_MARK
        is_marked = any(entry.key == mark for entry in page)
        if self._pages_read == 1 and not is_marked and (len(page) < PAGE or page[-1].key > mark):
            state.confirmed(self._begun)
        # Beside its objects a scope has records (records.py): no reference leads to them, and their names are shorter.
        start, length = len(state.prefix), len(state.prefix) + 2 * OBJECT_ID_LENGTH
        objects = [entry for entry in page if len(entry.key) == length]
        if state.is_confirmed:
            state.listed({bytes.fromhex(entry.key[start:]): entry.size for entry in objects})
        self._order += [entry for entry in objects if entry.size <= self._limit]
        if len(self._order) != len(objects) and any(entry.size > self._limit for entry in objects):
            self._report(next(entry for entry in objects if entry.size > self._limit))

    def _report(self, large: StoredObject) -> None:
        _log.warning(
            "%s has %d bytes, more than any payload of this chain: it is not fetched. Find out who wrote it.",
            large.key,
            large.size,
        )

    def _complete(self) -> None:
        self._is_listed = True
        self._order.sort(key=lambda entry: entry.modified)
        self._position = {entry.key: position for position, entry in enumerate(self._order)}
        if self._from_start and not self._last_asked and self._order:
            self._last_asked = self._order[0].key
        if self._from_start or self._followed > 1:
            self._move(missed=True)

    def _end_listing(self) -> None:
        """Go without: part of a listing says nothing of the order in which objects were written."""
        self._is_listed = True
        self._order = []

    def _move(self, *, missed: bool) -> None:
        position = self._position.get(self._last_asked)
        if position is None:
            return
        if missed:
            # Stores tell the time in seconds: what was written in the same one may come before or after.
            since = self._order[position].modified
            self._next = bisect.bisect_left(self._order, since, key=lambda entry: entry.modified)
            self._forget_far_from(position)
        while self._next < len(self._order) and len(self._ahead) < self._width:
            entry = self._order[self._next]
            if self._ahead and self._ahead_size + entry.size > _WINDOW_SIZE:
                break
            self._next += 1
            if entry.key not in self._asked and entry.key not in self._ahead:
                self._ahead_size += entry.size
                fetch = self._loop.create_task(self._fetch(entry), context=Context())
                fetch.add_done_callback(_retrieve)
                self._ahead[entry.key] = fetch
        if self._ahead and self._expiry is None:
            self._expiry = self._loop.call_later(_IDLE, self._expire)

    def _expire(self) -> None:
        """Let go of what was fetched for a replay that does not go on."""
        self._expiry = None
        left = self._used + _IDLE - self._loop.time()
        if left > 0 and self._ahead:
            self._expiry = self._loop.call_later(left, self._expire)
            return
        self._forget(list(self._ahead))

    async def _fetch(self, entry: StoredObject) -> bytes:
        async with ahead_limiter_of(self._client.store).hold(entry.size):
            self._under_way.add(entry.key)
            return await self._client.get_admitted(entry.key, entry.size, self._limit)

    def _forget_far_from(self, position: int) -> None:
        """The replay went past these without asking for them, or is not there yet."""
        self._forget([key for key in self._ahead if abs(self._position[key] - position) > self._width])

    def _forget(self, keys: list[str]) -> None:
        for key in keys:
            self._ahead.pop(key).cancel()
            self._ahead_size -= self._order[self._position[key]].size


def _retrieve(fetch: "asyncio.Task[bytes]") -> None:
    """An error that nobody asked for is no news: whoever needs the object asks the store again."""
    if not fetch.cancelled():
        fetch.exception()


def _forget_closed_loops() -> None:
    """Let go of what was fetched for event loops that have ended."""
    for loop in [loop for loop in list(_fetching) if loop.is_closed()]:
        for state in _fetching.pop(loop, ()):
            state.windows.pop(loop, None)
