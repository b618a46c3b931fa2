"""The records and objects that the latest checkpoints of a run need."""

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
        store: The store with the scopes.
        prefixes: The prefixes of their tenants, already loaded.
        limiter: Admits each request.
    """

    def __init__(self, store: Store, prefixes: ScopePrefixes, limiter: Limiter | None = None) -> None:
        self._client = StoreClient(store, REQUEST_SECONDS, limiter)
        self._prefixes = prefixes

    async def needed(self, prefix: str, keep: int) -> frozenset[str]:
        """Return the keys of the latest ``keep`` records of a scope, and of all objects that are needed to restore them.

        Memory grows with ``keep``, not with the number of checkpoints.

        Args:
            prefix: The scope's prefix.
            keep: Number of checkpoints.

        Raises:
            FormatError: A record is not of a known version.
            IntegrityError: A record was not written under its name.
            PayloadNotFound: A record was deleted meanwhile, or an object is gone.
            KeyUnavailable: The key that they are sealed under cannot be loaded.
            LimitExceeded: Too many names of records are not authentic.
            StoreError: The store cannot or will not return them.
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
        """Return the objects of a scope that cannot be opened, since one of their bases is missing.

        Args:
            objects: All objects of the scope, by key.
            prefix: The scope's prefix.

        Raises:
            StoreError: The store cannot or will not return one.
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
        """Add an object and its bases. The object itself names them: a reference may be older than its object."""
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
