"""Fetching the objects of a scope before they are asked for.

A replay asks for one payload after the other, so a cold worker would make one round trip a step. At the first object
that it lacks, the scope is listed; at the second, since one may be all that somebody wants, the objects that were
written after it are fetched in that order, in a window that moves with the replay.
"""

import asyncio
import bisect
import logging
from collections import OrderedDict
from typing import Final
from weakref import WeakKeyDictionary

from coatcheck.clock import uptime
from coatcheck.contracts import StoredObject
from coatcheck.errors import CoatcheckError, StoreDenied
from coatcheck.format.wire import OBJECT_ID_LENGTH
from coatcheck.storage.access import Access
from coatcheck.storage.limiter import AHEAD_LIMITER
from coatcheck.storage.markers import TOMBSTONE
from coatcheck.storage.presence import Presence
from coatcheck.storage.single_flight import SingleFlight

_WINDOW_SIZE: Final = 32 * 2**20
"""Bytes fetched ahead and not yet asked for, for one scope."""
_WINDOW_OBJECTS: Final = 1024
_MAX_LISTING: Final = 20_000
"""Objects. A larger scope is not a run that is being replayed."""
_RUNS: Final = 64

_log = logging.getLogger("coatcheck")


class ReadAhead:
    """The objects of one store. For any number of event loops; each has windows of its own."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._unlimited = access.without_limiter()
        self._denied = False
        # Payloads that are opened at the same time build on the same objects.
        self._getting: SingleFlight[bytes] = SingleFlight()
        self._windows: WeakKeyDictionary[asyncio.AbstractEventLoop, OrderedDict[str, _Window]] = (
            WeakKeyDictionary()
        )

    async def get(self, presence: Presence, object_id: bytes, size: int, *, follow: bool) -> bytes:
        """The object, from what was fetched ahead or from the store; raises as :meth:`Access.get`.

        Args:
            presence: What is known of the scope that the object is in.
            object_id: Which.
            size: What it will come to, in bytes.
            follow: Whether to fetch on from it.
        """
        key = presence.key(object_id)
        window = self._window_of(presence)
        ahead = window.take(key) if window else None
        if window and follow:
            window.follow(key, missed=ahead is None)
        return await self._getting.run(key, lambda: self._get(ahead, key, size))

    async def _get(self, ahead: asyncio.Task[bytes] | None, key: str, size: int) -> bytes:
        if ahead is not None:
            try:
                return await asyncio.shield(ahead)
            except CoatcheckError:
                pass
            except asyncio.CancelledError:
                ahead.cancel()
                raise
        return await self._access.get(key, size)

    async def settled(self, presence: Presence) -> None:
        """Wait for a listing of the scope that is under way, so that what it finds is not written again.

        Of a scope that is replayed, and of which nothing is known, a listing is begun.
        """
        if presence.replayed and presence.is_cold:
            window = self._window_of(presence)
        else:
            window = self._of_this_loop().get(presence.prefix)
        if window is not None and not window.listing.done():
            await asyncio.wait({window.listing})

    async def listed(self, presence: Presence) -> None:
        """Wait for the listing of the scope; begin one, unless there was one before."""
        window = self._window_of(presence)
        if window is not None and not window.listing.done():
            await asyncio.wait({window.listing})

    async def close(self) -> None:
        """Give up what is under way on this event loop."""
        windows = self._of_this_loop()
        tasks = [task for window in windows.values() for task in window.give_up()]
        windows.clear()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _of_this_loop(self) -> "OrderedDict[str, _Window]":
        return self._windows.setdefault(asyncio.get_running_loop(), OrderedDict())

    def _window_of(self, presence: Presence) -> "_Window | None":
        if self._denied:
            return None
        windows = self._of_this_loop()
        window = windows.get(presence.prefix)
        if window is None or window.presence is not presence:
            # What was known of the scope before is out of date.
            if window is not None:
                window.give_up()
            listing = asyncio.ensure_future(self._list(presence))
            window = windows[presence.prefix] = _Window(presence, self._unlimited, listing)
            if len(windows) > _RUNS:
                _, oldest = windows.popitem(last=False)
                oldest.give_up()
        windows.move_to_end(presence.prefix)
        return window

    async def _list(self, presence: Presence) -> list[StoredObject]:
        nobody_sweeps = presence.is_confirmed
        begun = uptime()
        try:
            found = await self._access.list_up_to(_MAX_LISTING + 1, presence.prefix)
        except StoreDenied as error:
            if not self._denied:
                self._denied = True
                _log.warning("The store may not be listed, so replays fetch one object at a time: %s", error)
            return []
        except CoatcheckError:
            return []
        if len(found) > _MAX_LISTING:
            return []
        # Beside its objects a scope has records (ledger.py): no reference leads to them, and their names are shorter.
        length = len(presence.prefix) + 2 * OBJECT_ID_LENGTH
        objects = [entry for entry in found if len(entry.key) == length]
        tombstone = presence.prefix + TOMBSTONE
        if not any(entry.key == tombstone for entry in found):
            presence.confirmed(begun)
            nobody_sweeps = True
        if nobody_sweeps:
            presence.listed(entry.key for entry in objects)
        return sorted(objects, key=lambda entry: entry.modified)


class _Window:
    def __init__(self, presence: Presence, access: Access, listing: asyncio.Task[list[StoredObject]]) -> None:
        self.presence = presence
        self.listing = listing
        self._access = access
        self._from_start = presence.replayed
        self._order: list[StoredObject] = []
        self._position: dict[str, int] = {}
        self._ahead: dict[str, asyncio.Task[bytes]] = {}
        self._under_way: set[str] = set()
        self._ahead_size = 0
        self._asked: set[str] = set()
        self._next = 0
        self._followed = 0
        self._last_asked = ""
        listing.add_done_callback(self._listed)

    def take(self, key: str) -> asyncio.Task[bytes] | None:
        """What is fetching the object ahead, which is the caller's from now on; None if the store has to be asked."""
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
        if self._followed > 1:
            self._move(missed=missed)

    def _move(self, *, missed: bool) -> None:
        position = self._position.get(self._last_asked)
        if position is None:
            return
        if missed:
            # Stores tell the time in seconds: what was written in the same one may come before or after.
            since = self._order[position].modified
            self._next = bisect.bisect_left(self._order, since, key=lambda entry: entry.modified)
            self._forget_far_from(position)
        while self._next < len(self._order) and len(self._ahead) < _WINDOW_OBJECTS:
            entry = self._order[self._next]
            if self._ahead and self._ahead_size + entry.size > _WINDOW_SIZE:
                return
            self._next += 1
            if entry.key not in self._asked and entry.key not in self._ahead:
                self._ahead_size += entry.size
                fetch = asyncio.ensure_future(self._fetch(entry))
                fetch.add_done_callback(_retrieve)
                self._ahead[entry.key] = fetch

    async def _fetch(self, entry: StoredObject) -> bytes:
        async with AHEAD_LIMITER.hold(entry.size):
            self._under_way.add(entry.key)
            return await self._access.get(entry.key, entry.size)

    def give_up(self) -> list[asyncio.Future[object]]:
        """Cancel what is under way, and say what that was."""
        tasks: list[asyncio.Future[object]] = [self.listing, *self._ahead.values()]  # type: ignore[list-item]
        for task in tasks:
            task.cancel()
        self._ahead.clear()
        self._ahead_size = 0
        return tasks

    def _listed(self, listing: asyncio.Task[list[StoredObject]]) -> None:
        if listing.cancelled():
            return
        self._order = listing.result()
        self._position = {entry.key: position for position, entry in enumerate(self._order)}
        if self._from_start and not self._last_asked and self._order:
            self._last_asked = self._order[0].key
        if self._from_start or self._followed > 1:
            self._move(missed=True)

    def _forget_far_from(self, position: int) -> None:
        """The replay went past these without asking for them, or is not there yet."""
        for key in [key for key in self._ahead if abs(self._position[key] - position) > _WINDOW_OBJECTS]:
            self._ahead.pop(key).cancel()
            self._ahead_size -= self._order[self._position[key]].size


def _retrieve(fetch: "asyncio.Task[bytes]") -> None:
    """An error that nobody asked for is no news: whoever needs the object asks the store again."""
    if not fetch.cancelled():
        fetch.exception()
