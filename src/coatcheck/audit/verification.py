"""Verification that everything in a store can be opened."""

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
    """An object or record that cannot be opened."""

    key: str
    """The key of the object or record, below the store's prefix."""
    error: CoatcheckError


@dataclass(slots=True)
class Findings:
    """The result of one verification."""

    objects: int = 0
    """Objects that were opened and have the payloads that their names say."""
    records: int = 0
    """Records that were opened and whose objects exist."""
    stored_bytes: int = 0
    """Bytes of these objects and records."""
    payload_bytes: int = 0
    """Bytes of the payloads in these objects."""
    left_out: int = 0
    """Objects and records that are not in the sample."""
    gone: int = 0
    """Objects and records that were deleted after they were listed, for example by a sweep."""
    unnamed: int = 0
    """Objects and records that belong to none of the tenants under any of the keys: of others, or under a missing key."""
    problems: list[Problem] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """True if there was nothing to verify, so that the result proves nothing."""
        return not (self.objects or self.records or self.left_out or self.gone or self.problems)


class Verification:
    """Opens all objects, or a sample: each must be authentic, have its bases, and contain the payload that its name says.

    Only reads. Keeps a few objects in memory beside the chain's cache. For one event loop.

    Args:
        chain: The chain; all of its stores are verified.
        tenants: Names of the tenants to verify.
        scopes: Verify only these scopes; empty for all, including the tenant scopes.
        sample: Share of the objects to open, 0 to 1.
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
        """Verify everything, and return the result.

        Raises:
            ConfigError: The chain has no store.
            KeyUnavailable: A key of a tenant cannot be loaded.
            StoreError: A store cannot or will not be listed, or return an object.
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
        """Yield objects and records with their scope's prefix and their name in it."""
        if self._scopes:
            starts = [prefix for scope in self._scopes for prefix in await self._prefixes.of(scope)]
            known = starts
        else:
            # List everything: objects that belong to none of these tenants and keys are worth knowing as well.
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
            # One is enough: the objects of a scope are listed one after the other.
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
        """Open an object, and return the bytes of its payload."""
        object_id = bytes.fromhex(name)
        try:
            payload = await self._opened(store, of, object_id, stored)
        except (FormatError, IntegrityError):
            # Try again, as any reader would: a copy may be damaged, or the bytes in transit.
            payload = await self._opened(store, of, object_id, stored)
        if await off_loop(len(payload), DECODE_INLINE_UP_TO, of.sealer.object_id, payload) != object_id:
            raise IntegrityError(
                "the object contains another payload than its name says", "Restore the original object.", name
            )
        return len(payload)

    async def _opened(
        self, store: ChainStore, of: ScopeSealer, object_id: bytes, stored: StoredObject
    ) -> bytes:
        try:
            # A copy would prove nothing about the object itself.
            data = await store.client.get_uncached(stored.key, stored.size, store.limit)
        except PayloadNotFound:
            raise _GoneError from None
        return await self._chain.open_object(store.scope(of), object_id, data)


class _GoneError(Exception):
    """The object was deleted after it was listed."""


async def _check_record(store: ChainStore, of: ScopeSealer, stored: StoredObject) -> None:
    records = Records(store.client, of)
    entry = records.entry(stored)
    if entry is None:
        raise IntegrityError(
            "the name of the record is not authentic",
            "Find out who may write to the store, and delete it.",
            stored.key,
        )
    try:
        data = await records.get(entry)
    except PayloadNotFound:
        raise _GoneError from None
    object_id = Checkpoint.from_record(entry, data).reference.object_id.hex()
    # The object itself is verified when it is listed.
    if not await store.client.list_first(of.prefix + object_id, 1):
        raise PayloadNotFound(
            "the state of a checkpoint is gone",
            "Restore the object, or go on from an older checkpoint.",
            object_id,
        )
