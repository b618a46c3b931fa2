"""Deletion of a scope at the word of whoever wrote it, without the grace of a sweep."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, TypeVar

from coatcheck.contracts.store import StoredObject
from coatcheck.errors import PayloadNotFound, StoreDenied
from coatcheck.format.envelope import Envelope
from coatcheck.format.layout import is_object
from coatcheck.format.reference import Reference
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.records import Ledger, Position, Records
from coatcheck.storage.scope_state import TRUSTED_FOR
from coatcheck.storage.store_time import store_time

_T = TypeVar("_T")

_PAGE: Final = 1000
_AT_ONCE: Final = 32
"""Concurrent calls. Few, because waiting for a slot counts towards each one's deadline."""
_IDLE: Final = timedelta(seconds=2 * TRUSTED_FOR)
"""Age of the newest object of a scope from which on no process relies on what it saw there."""
_SHARED: Final = Position(0, 0)
"""The position of the record of a scope to whose payloads others refer."""


async def share(ledger: Ledger) -> None:
    """Note that others refer to payloads of a scope: see :meth:`Chain.share`."""
    await ledger.create(_SHARED, b"")


async def delete(ledger: Ledger) -> bool:
    """Delete everything of a scope, unless others refer to it: see :meth:`Chain.delete`."""
    if await ledger.newest(1):
        return False
    try:
        for place in await ledger.places():
            async for _ in emptied(place, ""):
                pass
    finally:
        ledger.forget()
    return True


async def trim(ledger: Ledger, references: Iterable[Reference]) -> bool:
    """Delete what none of ``references`` needs, unless it may be relied on: see :meth:`Chain.trim`."""
    if await ledger.newest(1):
        return False
    places = await ledger.places()
    for place in places:
        store = place.client.store
        newest = [stored.modified async for stored in store.list_objects(place.scope.prefix)]
        if newest and await store_time(store) - max(newest) < _IDLE:
            return False
    needed = await needed_by(places, references)
    try:
        for place in places:
            await delete_objects(place, needed, await store_time(place.client.store))
    finally:
        ledger.forget()
    return True


async def emptied(place: Records, start: str) -> AsyncIterator[Sequence[StoredObject]]:
    """Delete everything in a scope whose name starts with ``start``; yield what is gone, page by page."""
    last = ""
    while page := await place.client.list_first(place.scope.prefix + start, _PAGE):
        if page[0].key == last:
            raise StoreDenied(
                "a deleted object is still there",
                "Check the store's retention and object lock settings.",
                last,
            )
        last = page[0].key
        for some in batches(page):
            await all_at_once(place.client.delete(stored.key) for stored in some)
        yield page


async def needed_by(places: Sequence[Records], references: Iterable[Reference]) -> set[bytes]:
    """Return the objects needed to open ``references``. An object's header lists its bases."""
    needed: set[bytes] = set()

    async def add(reference: Reference) -> None:
        needed.update(reference.bases)
        todo = [reference.object_id]
        while todo:
            object_id = todo.pop()
            if object_id in read:
                continue
            read.add(object_id)
            needed.add(object_id)
            for place in places:
                if place.scope.key_id == reference.key_id:
                    todo += await _bases(place, object_id, reference.size)

    read: set[bytes] = set()
    for some in batches(references):
        await all_at_once(map(add, some))
    return needed


async def _bases(place: Records, object_id: bytes, size: int) -> Sequence[bytes]:
    try:
        data = await place.client.get_uncached(place.scope.prefix + object_id.hex(), size)
    except PayloadNotFound:
        return ()
    return Envelope.from_bytes(data).header.bases


async def delete_objects(place: Records, needed: set[bytes], until: datetime) -> None:
    """Delete objects that are not needed and were written before ``until``."""
    prefix = place.scope.prefix
    going = [
        stored.key
        async for stored in place.client.store.list_objects(prefix)
        # A newer object may belong to something that is being written.
        if stored.modified < until
        and is_object(name := stored.key.removeprefix(prefix))
        and bytes.fromhex(name) not in needed
    ]
    for some in batches(going):
        await all_at_once(map(place.client.delete, some))


def batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    """Yield items in as many as may be worked on at once."""
    left = iter(items)
    while some := list(islice(left, _AT_ONCE)):
        yield some
