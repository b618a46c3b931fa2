"""Deletion of checkpoints, and of the objects that only they need."""

from datetime import datetime

from coatcheck.checkpoints.records import Checkpoint, CheckpointRecords, DamagedCheckpoint
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.records import STEP, Position, Records
from coatcheck.storage.removal import batches, delete_objects, emptied, needed_by


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
        needed = await needed_by(places, (item.reference for item in staying))
        for some in batches(going):
            await all_at_once(place.delete(position) for place in places for position in some)
        for place, end in zip(places, until, strict=True):
            if end is not None:
                await delete_objects(place, needed, end)
        return len(going)

    async def _empty(self, place: Records, start: str) -> int:
        """Delete everything whose name starts with ``start``; return the number of records."""
        return sum(
            [sum(place.entry(stored) is not None for stored in page) async for page in emptied(place, start)]
        )


async def _last_saved(place: Records) -> datetime | None:
    newest = await place.newest(1)
    return newest[0].stored.modified if newest else None
