"""What the latest checkpoints of a run need: their records, and the objects that those refer to."""

from coatcheck.checkpoints import Checkpoint
from coatcheck.concurrency import all_at_once
from coatcheck.contracts import Store
from coatcheck.format.envelope import Envelope
from coatcheck.retention.addresses import Addresses
from coatcheck.storage.access import Access
from coatcheck.storage.ledger import Records


class LatestCheckpoints:
    """Reads records, and the headers of objects. For any number of tasks.

    Args:
        store: Where they are.
        addresses: Of their tenants, which were asked for before.
    """

    def __init__(self, store: Store, addresses: Addresses) -> None:
        self._access = Access(store)
        self._addresses = addresses

    async def needed(self, prefix: str, keep: int) -> frozenset[str]:
        """Keys of the latest ``keep`` records below a scope's prefix, and of all objects that restoring those takes.

        Raises:
            FormatError: A record is none of a version known here.
            IntegrityError: A record is not what was written under its name.
            PayloadNotFound: A record was removed meanwhile, or an object is gone.
            KeyUnavailable: The key that they are sealed under cannot be had.
            LimitExceeded: Too many names of records are not authentic.
            StoreError: The store cannot or will not give them.
        """
        if not keep:
            return frozenset()
        records = Records(self._access, await self._addresses.sealer_at(prefix))
        entries = await records.newest(keep)
        checkpoints = [
            Checkpoint.from_record(entry, data)
            for entry, data in zip(entries, await all_at_once(map(records.get, entries)), strict=True)
        ]
        needed = {entry.stored.key for entry in entries}
        for checkpoint in checkpoints:
            await self._add(needed, prefix, checkpoint.reference.object_id, checkpoint.reference.size)
        return frozenset(needed)

    async def _add(self, needed: set[str], prefix: str, object_id: bytes, size: int) -> None:
        """An object, and all that it is a delta against. It says that itself: its reference may be older than it is."""
        key = prefix + object_id.hex()
        if key in needed:
            return
        needed.add(key)
        await self._access.forget(key)
        for base in Envelope.from_bytes(await self._access.get(key, size)).header.bases:
            await self._add(needed, prefix, base, size)
