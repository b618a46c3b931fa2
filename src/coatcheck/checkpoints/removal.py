"""Deletion of checkpoints, and of the objects that only they need."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Final, TypeVar

from coatcheck.checkpoints.records import Checkpoint, CheckpointRecords, DamagedCheckpoint
from coatcheck.errors import PayloadNotFound, StoreDenied
from coatcheck.format.envelope import Envelope
from coatcheck.format.layout import is_object
from coatcheck.format.reference import Reference
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.records import STEP, Position, Records

_T = TypeVar("_T")

_PAGE: Final = 1000
_AT_ONCE: Final = 32
"""Concurrent calls. Few, because waiting for a slot counts towards each one's deadline."""


class Removal:
    """One deletion in one run. Each object serves one call.

    Args:
        records: The run's.
    """

    def __init__(self, records: CheckpointRecords) -> None:
        self._records = records
        self.gone: list[Position] = []
        """Positions of the checkpoints that :meth:`some` deleted."""

    async def all(self) -> int:
        """Delete everything of the run, records first; return the number of checkpoints."""
        count = 0
        for place in await self._records.ledger.places():
            count += await self._empty(place, STEP)
            await self._empty(place, "")
        return count

    async def some(self, before: int | None, branch: int | None) -> int:
        """Delete checkpoints below step ``before``, in one branch, or both; return their number."""
        going = self.gone
        staying: list[Checkpoint] = []
        async for found in self._records.listing(None, None):
            goes = (before is None or found.step < before) and (branch is None or found.branch == branch)
            if goes:
                going.append(Position(found.branch, found.step))
            elif isinstance(found, DamagedCheckpoint):
                raise found.error
            else:
                staying.append(found)
        if not staying:
            return await self.all()
        if not going:
            return 0
        places = await self._records.ledger.places()
        until = [await _last_saved(place) for place in places]
        needed = await _needed(places, (item.reference for item in staying))
        for some in _batches(going):
            await all_at_once(place.delete(position) for place in places for position in some)
        for place, end in zip(places, until, strict=True):
            if end is not None:
                await _delete_objects(place, needed, end)
        return len(going)

    async def _empty(self, place: Records, start: str) -> int:
        """Delete everything whose name starts with ``start``; return the number of records."""
        count, last = 0, ""
        while page := await place.client.list_first(place.scope.prefix + start, _PAGE):
            if page[0].key == last:
                raise StoreDenied(
                    "a deleted object is still there",
                    "Check the store's retention and object lock settings.",
                    last,
                )
            last = page[0].key
            count += sum(place.entry(stored) is not None for stored in page)
            for some in _batches(page):
                await all_at_once(place.client.delete(stored.key) for stored in some)
        return count


async def _last_saved(place: Records) -> datetime | None:
    newest = await place.newest(1)
    return newest[0].stored.modified if newest else None


async def _needed(places: Sequence[Records], references: Iterable[Reference]) -> set[bytes]:
    """Return the objects needed to restore ``references``. An object's header lists its bases."""
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
    for some in _batches(references):
        await all_at_once(map(add, some))
    return needed


async def _bases(place: Records, object_id: bytes, size: int) -> Sequence[bytes]:
    try:
        data = await place.client.get_uncached(place.scope.prefix + object_id.hex(), size)
    except PayloadNotFound:
        return ()
    return Envelope.from_bytes(data).header.bases


async def _delete_objects(place: Records, needed: set[bytes], until: datetime) -> None:
    """Delete objects that are not needed and are older than the newest record."""
    prefix = place.scope.prefix
    going = [
        stored.key
        async for stored in place.client.store.list_objects(prefix)
        # A newer object may belong to a checkpoint whose record is being written.
        if stored.modified < until
        and is_object(name := stored.key.removeprefix(prefix))
        and bytes.fromhex(name) not in needed
    ]
    for some in _batches(going):
        await all_at_once(map(place.client.delete, some))


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    left = iter(items)
    while some := list(islice(left, _AT_ONCE)):
        yield some
