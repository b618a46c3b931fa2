"""Opening all that is in a store, to see that it can be brought back."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from coatcheck.chain import Chain
from coatcheck.checkpoints.checkpoints import Checkpoint
from coatcheck.contracts.store import StoredObject
from coatcheck.errors import CoatcheckError, FormatError, IntegrityError, LimitExceeded, PayloadNotFound
from coatcheck.format.layout import is_object, is_record, split
from coatcheck.format.suites import ScopeSealer
from coatcheck.runtime.concurrency import DECODE_INLINE_UP_TO, off_loop
from coatcheck.runtime.progress import Progress
from coatcheck.scope import Scope
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.records import Records
from coatcheck.storage.scoped_store import ChainStore

_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that cannot be brought back."""

    key: str
    """Of the object or the record, below the store's prefix."""
    error: CoatcheckError


@dataclass(slots=True)
class Findings:
    """Result of one verification."""

    objects: int = 0
    """Opened, and found to hold what their names say."""
    records: int = 0
    """Opened; their objects are there."""
    stored_bytes: int = 0
    """Of objects and records that were looked at."""
    payload_bytes: int = 0
    """Of the payloads in the objects."""
    left_out: int = 0
    """Objects and records that are not in the sample."""
    gone: int = 0
    """Deleted between the listing and the look, as by a sweep."""
    unnamed: int = 0
    """Objects and records that belong to none of the tenants under none of the keys: of others, or under a key that is missing."""
    problems: list[Problem] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """True if nothing was there to be looked at, so that nothing was shown."""
        return not (self.objects or self.records or self.left_out or self.gone or self.problems)


class Verification:
    """Opens every object, or a sample: each is authentic, its bases are there, and its payload is the one it is named by.

    Reads only, and holds no more than a few objects at once beside the chain's cache.

    Args:
        chain: Whose payloads, in all of its stores.
        tenants: Whose to look at.
        scopes: Only those of these runs; none for all, the tenant's own scope among them.
        sample: Share of the objects to look at, 0 to 1.
        progress: Called in the event loop, often.
    """

    def __init__(
        self,
        chain: Chain,
        tenants: tuple[str, ...],
        *,
        scopes: Sequence[Scope] = (),
        sample: float = 1.0,
        progress: Progress | None = None,
    ) -> None:
        self._chain = chain
        self._prefixes = ScopePrefixes(chain.sealings)
        self._tenants = tenants
        self._scopes = scopes
        self._sample = sample
        self._progress = progress
        self._sealers: dict[str, ScopeSealer] = {}

    async def findings(self) -> Findings:
        """Look at everything.

        Raises:
            ConfigError: The chain has no store.
            KeyUnavailable: A key of a tenant cannot be had.
            StoreError: A store cannot or will not be listed, or give something.
        """
        found = Findings()
        places = asyncio.Semaphore(_AT_ONCE)

        async def look(store: ChainStore, prefix: str, name: str, stored: StoredObject) -> None:
            try:
                await self._look(found, store, await self._sealer(prefix), name, stored)
            finally:
                places.release()
            if self._progress:
                self._progress("objects verified", found.objects + found.records)

        try:
            async with asyncio.TaskGroup() as group:
                for store in self._chain.stores:
                    async for prefix, name, stored in self._listed(store, found):
                        if random.random() >= self._sample:  # noqa: S311 - a sample hides nothing
                            found.left_out += 1
                            continue
                        await places.acquire()
                        group.create_task(look(store, prefix, name, stored))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        found.problems.sort(key=lambda problem: problem.key)
        return found

    async def _listed(
        self, store: ChainStore, found: Findings
    ) -> AsyncIterator[tuple[str, str, StoredObject]]:
        """Objects and records with their scope's prefix and their name in it."""
        if self._scopes:
            starts = [prefix for scope in self._scopes for prefix in await self._prefixes.of(scope)]
            known = starts
        else:
            # All of it: what these tenants and keys do not name is worth knowing as well.
            starts = [""]
            known = [prefix for tenant in self._tenants for prefix in await self._prefixes.of_tenant(tenant)]
        for start in starts:
            async for stored in store.client.store.list_objects(start):
                place = split(stored.key)
                if place is None or not (is_object(place[1]) or is_record(place[1])):
                    continue
                if place[0].startswith(tuple(known)):
                    yield *place, stored
                else:
                    found.unnamed += 1

    async def _sealer(self, prefix: str) -> ScopeSealer:
        if prefix not in self._sealers:
            # One will do: the objects of a scope are listed one after the other.
            self._sealers = {prefix: await self._prefixes.sealer_at(prefix)}
        return self._sealers[prefix]

    async def _look(
        self, found: Findings, store: ChainStore, of: ScopeSealer, name: str, stored: StoredObject
    ) -> None:
        try:
            if is_record(name):
                await _check_record(store, of, stored)
                found.records += 1
            else:
                size = await self._check_object(store, of, name, stored)
                found.objects += 1
                found.payload_bytes += size
            found.stored_bytes += stored.size
        except _GoneError:
            found.gone += 1
        except (FormatError, IntegrityError, LimitExceeded, PayloadNotFound) as error:
            found.problems.append(Problem(stored.key, error))

    async def _check_object(self, store: ChainStore, of: ScopeSealer, name: str, stored: StoredObject) -> int:
        """Bytes of the payload."""
        object_id = bytes.fromhex(name)
        try:
            payload = await self._opened(store, of, object_id, stored)
        except (FormatError, IntegrityError):
            # Once more, as whoever needs it would: a copy may be damaged, or the bytes on their way.
            payload = await self._opened(store, of, object_id, stored)
        if await off_loop(len(payload), DECODE_INLINE_UP_TO, of.sealer.object_id, payload) != object_id:
            raise IntegrityError("the object holds another payload", "Restore the original object.", name)
        return len(payload)

    async def _opened(
        self, store: ChainStore, of: ScopeSealer, object_id: bytes, stored: StoredObject
    ) -> bytes:
        try:
            # A copy would say nothing of the object itself.
            data = await store.client.get_uncached(stored.key, stored.size, store.limit)
        except PayloadNotFound:
            raise _GoneError from None
        return await self._chain.open_object(store.scope(of), object_id, data)


class _GoneError(Exception):
    """It was there when it was listed."""


async def _check_record(store: ChainStore, of: ScopeSealer, stored: StoredObject) -> None:
    records = Records(store.client, of)
    entry = records.entry(stored)
    if entry is None:
        raise IntegrityError(
            "nobody who has the key gave a record this name",
            "Find out who may write to the store, and delete it.",
            stored.key,
        )
    try:
        data = await records.get(entry)
    except PayloadNotFound:
        raise _GoneError from None
    object_id = Checkpoint.from_record(entry, data).reference.object_id.hex()
    # Whether it opens, and has its bases, is found out when its own turn comes.
    if not await store.client.list_first(of.prefix + object_id, 1):
        raise PayloadNotFound(
            "the state of a checkpoint is gone",
            "Restore the object, or go on from an older checkpoint.",
            object_id,
        )
