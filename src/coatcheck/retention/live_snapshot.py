"""A snapshot of an engine's live scopes, kept in the store for the parts of one sweep, so that the engine is asked once.

It is sealed under the first tenant's key, since scopes that are not in it are deleted.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final

from coatcheck.contracts.sealing import TENANT_SCOPE_TAG
from coatcheck.contracts.store import Store
from coatcheck.errors import FormatError, IntegrityError, PayloadNotFound
from coatcheck.format.suites import ScopeSealer
from coatcheck.retention.index import Index
from coatcheck.retention.live import LiveScopes
from coatcheck.scope import engine_code
from coatcheck.storage.client import StoreClient
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.sealed_records import open_record, seal_record

ENGINE_DIGITS: Final = 2
"""Hexadecimal digits of the engine's code at the start of a run tag."""
_FOLDER: Final = "sweep/live/"
_TAG: Final = len(TENANT_SCOPE_TAG)
_AT_ONCE: Final = 10_000
"""Entries that are written or read in one iteration of the event loop."""


class RecordedScopes(LiveScopes):
    """Live scopes from the snapshot for one part of a sweep.

    Args:
        store: The store that :func:`record` wrote to.
        tenant: The tenant whose key it is sealed under.
        sweep: Name of the sweep: segments of a key.
        part: One of :func:`parts`.
    """

    def __init__(self, store: Store, tenant: str, sweep: str, part: str) -> None:
        self._store = store
        self._tenant = tenant
        self._key = _key(sweep, part)

    async def prefixes(self, prefixes: ScopePrefixes) -> AsyncIterator[str]:
        """See :meth:`LiveScopes.prefixes`.

        Raises:
            PayloadNotFound: There is no snapshot. One without live scopes would exist. Not retryable.
            FormatError: It is damaged.
            IntegrityError: It is not authentic.
            StoreError: The store cannot or will not return it.
        """
        try:
            data = await StoreClient(self._store).get_uncached(self._key, 0)
        except PayloadNotFound as error:
            raise PayloadNotFound(
                "the snapshot of live scopes is gone", "Start the sweep again.", self._key, retryable=False
            ) from error
        places = await prefixes.own_places(self._tenant)
        record = await asyncio.to_thread(_opened, places, self._key, data)
        at = count = 0
        while at < len(record):
            tenant = record[at + 1 : at + 1 + _TAG]
            end = at + 1 + _TAG + record[at]
            tag = record[at + 1 + _TAG : end]
            if len(tag) != record[at]:
                raise FormatError(
                    "the snapshot of live scopes is damaged", "Start the sweep again.", self._key
                )
            # The prefix of a scope ends with a slash, that of a series does not.
            yield f"{tenant.hex()}/{tag.hex()}" + "/" * (len(tag) == _TAG)
            at = end
            count += 1
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)


def parts(digits: int) -> list[str]:
    """Return all values of the first ``digits`` hexadecimal digits of a run tag after the engine's code: 16 or 256 parts."""
    return [f"{number:0{digits}x}" for number in range(16**digits)] if digits else [""]


async def record(
    index: Index, store: Store, engine: str, place: ScopeSealer, *, sweep: str, digits: int
) -> None:
    """Write a snapshot of an engine's live scopes for each of the :func:`parts`, also for those without any.

    Args:
        index: The live scopes. Those of other engines, to which there may be references, are left out.
        store: The store to write to.
        engine: The engine's name.
        place: The sealer of the tenant scope.
        sweep: Name of the sweep: segments of a key.
        digits: As for :func:`parts`.

    Raises:
        StoreError: The store cannot or will not take it.
    """
    missing = set(parts(digits))
    for part, entries in groupby(
        index.live(f"{engine_code(engine):02x}"), key=lambda entry: _part(entry[0], digits)
    ):
        await _write(store, place, _key(sweep, part), entries)
        missing.remove(part)
    for part in sorted(missing):
        await _write(store, place, _key(sweep, part), iter(()))


async def forget(store: Store, sweep: str) -> None:
    """Delete the snapshots of a sweep, and of those whose names begin with its name and a slash.

    Raises:
        StoreError: The store cannot or will not do it.
    """
    await _remove(store, [entry.key async for entry in store.list_objects(f"{_FOLDER}{sweep}/")])


async def forget_older(store: Store, than: datetime) -> None:
    """Delete snapshots older than ``than``, which killed sweeps have left. Raises as :func:`forget`."""
    await _remove(store, [entry.key async for entry in store.list_objects(_FOLDER) if entry.modified < than])


async def _write(store: Store, place: ScopeSealer, key: str, entries: Iterator[tuple[str, str]]) -> None:
    data = bytearray()
    for count, (tag, tenant) in enumerate(entries, 1):
        data += bytes((len(tag) // 2,)) + bytes.fromhex(tenant) + bytes.fromhex(tag)
        if count % _AT_ONCE == 0:
            await asyncio.sleep(0)
    sealed = await asyncio.to_thread(seal_record, place, key, bytes(data))
    await StoreClient(store).replace(key, sealed)


def _opened(places: Sequence[ScopeSealer], key: str, data: bytes) -> bytes:
    """Open a snapshot under any of the tenant's keys, which may have been rotated since."""
    for place in places[:-1]:
        try:
            return open_record(place, key, data)
        except IntegrityError:
            continue
    try:
        return open_record(places[-1], key, data)
    except (FormatError, IntegrityError) as error:
        raise error.about(key) from None


async def _remove(store: Store, keys: Sequence[str]) -> None:
    client = StoreClient(store)
    for key in keys:
        await client.delete(key)


def _part(tag: str, digits: int) -> str:
    return tag[ENGINE_DIGITS : ENGINE_DIGITS + digits]


def _key(sweep: str, part: str) -> str:
    return f"{_FOLDER}{sweep}/part-{part}"
