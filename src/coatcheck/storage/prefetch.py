"""Prefetch of the objects of a scope during a replay.

A replay requests one payload after the other, so a cold worker would make one round trip per step. At the first missing
object the scope is listed. At the second (since one may be all that is needed) the objects that were written after it are
fetched in that order, in a window that moves with the replay.

It is unknown how large the scope is, and if it is replayed at all. So both start small and double as long as it pays, as
in TCP (RFC 5681, "slow start"): pages of the listing with each miss, objects in the window with each hit.
"""

import asyncio
import bisect
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextvars import Context
from typing import Any, Final, Protocol
from weakref import WeakSet

from coatcheck.contracts.store import StoredObject
from coatcheck.errors import CoatcheckError, StoreDenied
from coatcheck.runtime.clock import boottime
from coatcheck.runtime.portal import on_loop
from coatcheck.runtime.single_flight import SingleFlight
from coatcheck.storage.client import StoreClient
from coatcheck.storage.limiter import ahead_limiter_of

_WINDOW_SIZE: Final = 32 * 2**20
"""Bytes that are prefetched and not yet requested, for one scope."""
_LEAST_WIDTH: Final = 8
_FIRST_WIDTH: Final = 64
_FULL_WIDTH: Final = 1024
"""Objects that are prefetched and not yet requested."""
_PAGES_REPLAYED: Final = 4
"""Pages of a listing to begin with if the engine announced a replay."""
_MAX_PAGES: Final = 20
"""Pages of a listing. A larger scope is not a run that is being replayed."""
_SHARE_OF_DEADLINE: Final = 0.25
"""Share of a call's deadline to wait for a listing, which only saves time."""
_IDLE: Final = 60.0
"""Seconds after the last request in a scope until its prefetched objects are dropped."""
_ENTRY_COST: Final = 400
"""Bytes of memory for an entry of a listing."""
_WINDOW_COST: Final = 4096

_log = logging.getLogger("coatcheck")


class Listed(Protocol):
    """The scope whose objects are prefetched."""

    prefix: str
    """The start of their keys."""
    is_replayed: bool
    """True if the engine is about to replay the run from its start."""
    windows: dict[asyncio.AbstractEventLoop, "Window"]
    """The prefetch of each event loop."""

    def saw(self, page: list[StoredObject], begun: float, *, is_first: bool) -> list[StoredObject]:
        """Note a page of the listing that began at that time, and return the objects in it."""
        ...


_fetching: Final[dict[asyncio.AbstractEventLoop, "WeakSet[Listed]"]] = {}
"""The scopes with a window on each event loop."""


class Prefetch:
    """Gets and prefetches objects of one store. For any number of event loops; each has its own windows.

    Args:
        client: The store.
        limit: Bytes. Larger objects are not from this chain, and are not fetched.
    """

    def __init__(self, client: StoreClient, limit: int) -> None:
        self._client = client
        self._limit = limit
        self._denied = False
        # Payloads that are opened at the same time are often built on the same objects.
        self._getting: SingleFlight[bytes] = SingleFlight()

    async def get(self, scope: Listed, key: str, size: int, limit: int, *, follow: bool) -> bytes:
        """Return the object, prefetched or from the store. Raises as :meth:`StoreClient.get`.

        Args:
            scope: The scope that the object is in.
            key: The object's key in the store.
            size: Bytes that it is expected to have.
            limit: Bytes that it may have.
            follow: True to prefetch the objects after it.
        """
        await on_loop()
        window = self._window_of(scope)
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

    async def wait_for_listing(self, scope: Listed, *, starts: bool) -> None:
        """Wait a moment for the listing of a scope.

        Args:
            scope: The scope.
            starts: True to start it if there was none before.
        """
        loop = await on_loop()
        window = self._window_of(scope) if starts else scope.windows.get(loop)
        if window is not None:
            await window.listed(self._client.seconds_for(0) * _SHARE_OF_DEADLINE)

    async def close(self, scopes: Iterable[Listed]) -> None:
        """Cancel the prefetch of these scopes on this event loop."""
        loop = await on_loop()
        windows = [window for scope in scopes if (window := scope.windows.pop(loop, None)) is not None]
        await asyncio.gather(
            *(task for window in windows for task in window.give_up()), return_exceptions=True
        )

    def _window_of(self, scope: Listed) -> "Window | None":
        if self._denied:
            return None
        loop = asyncio.get_running_loop()
        window = scope.windows.get(loop)
        if window is None:
            _forget_closed_loops()
            window = scope.windows[loop] = Window(scope, self._client, self._limit, self._deny)
            _fetching.setdefault(loop, WeakSet()).add(scope)
        return window

    def _deny(self, error: StoreDenied) -> None:
        if not self._denied:
            self._denied = True
            _log.warning("Replays fetch one object at a time, since listing the store is denied: %s", error)


class Window:
    """The part of one scope that is prefetched on one event loop, which is the only one to use it."""

    def __init__(
        self,
        scope: Listed,
        client: StoreClient,
        limit: int,
        denied: Callable[[StoreDenied], None],
    ) -> None:
        self._scope = scope
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._limit = limit
        self._denied = denied
        self._from_start = scope.is_replayed
        self._width = _FULL_WIDTH if scope.is_replayed else _FIRST_WIDTH

        self._pages: AsyncGenerator[list[StoredObject], None] = client.pages(scope.prefix)
        self._pages_wanted = _PAGES_REPLAYED if scope.is_replayed else 1
        self._pages_read = 0
        self._begun = boottime()
        self._order: list[StoredObject] = []
        """Objects of the listing; sorted by time of writing when it is complete."""
        self._position: dict[str, int] = {}
        self._is_listed = False
        """True if the listing has ended or was given up."""
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
        """Bytes of memory in use, roughly."""
        return _WINDOW_COST + len(self._order) * _ENTRY_COST + self._ahead_size

    async def listed(self, seconds: float) -> None:
        """Wait until the wanted pages are listed, at most this number of seconds."""
        if not self._listing.done():
            await asyncio.wait({self._listing}, timeout=seconds)

    def take(self, key: str) -> asyncio.Task[bytes] | None:
        """Return the task that prefetches the object, which the caller then owns; None if there is none."""
        self._asked.add(key)
        fetch = self._ahead.pop(key, None)
        if fetch is None:
            return None
        self._ahead_size -= self._order[self._position[key]].size
        if key not in self._under_way:
            fetch.cancel()  # it still waits in the queue for prefetching, which is slower
            return None
        return fetch

    def follow(self, key: str, *, missed: bool) -> None:
        """Prefetch from the position of the replay.

        Args:
            key: The object that was requested last.
            missed: True if it was not prefetched, so that the window is not at the position of the replay.
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
        """Cancel all tasks, and return them."""
        tasks: list[asyncio.Future[object]] = [self._listing, *self._ahead.values()]  # type: ignore[list-item]
        for task in tasks:
            task.cancel()
        self._ahead.clear()
        self._ahead_size = 0
        self._is_listed = True
        return tasks

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # In its own context: it continues after the call that started it.
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
        objects = self._scope.saw(page, self._begun, is_first=self._pages_read == 1)
        self._order += [entry for entry in objects if entry.size <= self._limit]
        large = next((entry for entry in objects if entry.size > self._limit), None)
        if large is not None:
            self._report(large)

    def _report(self, large: StoredObject) -> None:
        _log.warning(
            "%s is not fetched: it has %d bytes, more than any payload of this chain. Find out who wrote it.",
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
        """Stop prefetching: an incomplete listing does not show the order in which objects were written."""
        self._is_listed = True
        self._order = []

    def _move(self, *, missed: bool) -> None:
        position = self._position.get(self._last_asked)
        if position is None:
            return
        if missed:
            # Some stores know times to the second only: objects of the same second may come in any order.
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
        """Drop the prefetched objects of a replay that does not continue."""
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
        """Drop prefetched objects that the replay has passed without requesting them, or that are far ahead."""
        self._forget([key for key in self._ahead if abs(self._position[key] - position) > self._width])

    def _forget(self, keys: list[str]) -> None:
        for key in keys:
            self._ahead.pop(key).cancel()
            self._ahead_size -= self._order[self._position[key]].size


def _retrieve(fetch: "asyncio.Task[bytes]") -> None:
    """Ignore the error of a prefetch: whoever needs the object asks the store again."""
    if not fetch.cancelled():
        fetch.exception()


def _forget_closed_loops() -> None:
    """Drop the windows of event loops that are closed."""
    for loop in [loop for loop in list(_fetching) if loop.is_closed()]:
        for scope in _fetching.pop(loop, ()):
            scope.windows.pop(loop, None)
