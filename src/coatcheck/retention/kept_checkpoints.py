"""What the latest checkpoints of a run need: their records, and the objects that those refer to."""

from coatcheck.checkpoints.checkpoints import Checkpoint
from coatcheck.contracts.store import Store, StoredObject
from coatcheck.errors import FormatError, PayloadNotFound
from coatcheck.format.envelope import Envelope
from coatcheck.retention.rate_limit import REQUEST_SECONDS
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.client import StoreClient
from coatcheck.storage.limiter import Limiter
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.records import Records

_AT_ONCE = 16


class LatestCheckpoints:
    """Reads records, and the headers of objects. For any number of tasks.

    Args:
        store: Where they are.
        prefixes: Of their tenants, which were asked for before.
        limiter: Admits each request.
    """

    def __init__(self, store: Store, prefixes: ScopePrefixes, limiter: Limiter | None = None) -> None:
        self._client = StoreClient(store, REQUEST_SECONDS, limiter)
        self._prefixes = prefixes

    async def needed(self, prefix: str, keep: int) -> frozenset[str]:
        """Return the keys of the latest ``keep`` records of a scope, and of all objects that restoring those takes.

        Memory grows with ``keep``, not with the number of checkpoints.

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
        records = Records(self._client, await self._prefixes.sealer_at(prefix))
        entries = await records.newest(keep)
        needed = {entry.stored.key for entry in entries}
        for start in range(0, len(entries), _AT_ONCE):
            some = entries[start : start + _AT_ONCE]
            for entry, record in zip(some, await all_at_once(map(records.get, some)), strict=True):
                reference = Checkpoint.from_record(entry, record).reference
                await self._add(needed, prefix, reference.object_id, reference.size)
        return frozenset(needed)

    async def broken(self, objects: dict[str, StoredObject], prefix: str) -> list[StoredObject]:
        """Return those of a scope's objects that nobody can open: something that they are a delta against is not there.

        Args:
            objects: All objects of the scope, by key.
            prefix: Of the scope.

        Raises:
            StoreError: The store cannot or will not give one.
        """
        found = []
        entries = list(objects.values())
        for start in range(0, len(entries), _AT_ONCE):
            some = entries[start : start + _AT_ONCE]
            bases = await all_at_once(self._bases_if_any(entry) for entry in some)
            for entry, of in zip(some, bases, strict=True):
                if any(prefix + base.hex() not in objects for base in of):
                    found.append(entry)
        return found

    async def _add(self, needed: set[str], prefix: str, object_id: bytes, size: int) -> None:
        """An object, and all that it is a delta against. It says that itself: its reference may be older than it is."""
        key = prefix + object_id.hex()
        if key in needed:
            return
        needed.add(key)
        for base in await self._bases(key, size):
            await self._add(needed, prefix, base, size)

    async def _bases_if_any(self, entry: StoredObject) -> tuple[bytes, ...]:
        try:
            return await self._bases(entry.key, entry.size)
        except (FormatError, PayloadNotFound):
            return ()

    async def _bases(self, key: str, size: int) -> tuple[bytes, ...]:
        return Envelope.from_bytes(await self._client.get_uncached(key, size)).header.bases
