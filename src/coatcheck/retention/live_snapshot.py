"""An engine's answer, kept in the store while parts of one sweep need it: it is asked once for all of them.

It is sealed under the first tenant's key: what is not in it is deleted.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final

from coatcheck.contracts.sealing import TENANT_SCOPE_TAG
from coatcheck.contracts.store import Store
from coatcheck.errors import FormatError, IntegrityError
from coatcheck.format.suites import ScopeSealer
from coatcheck.retention.index import Index
from coatcheck.retention.live import LiveScopes
from coatcheck.scope import engine_code
from coatcheck.storage.client import StoreClient
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.sealed_records import open_record, seal_record

ENGINE_DIGITS: Final = 2
"""Hexadecimal digits at the start of a scope's tag that say which engine wrote it."""
_FOLDER: Final = "sweep/live/"
_TAG: Final = len(TENANT_SCOPE_TAG)
_AT_ONCE: Final = 10_000
"""Entries that are written or read in one turn of the event loop."""


class RecordedScopes(LiveScopes):
    """What was recorded for one part of a sweep.

    Args:
        store: Where :func:`record` put it.
        tenant: Under whose key.
        sweep: Name of the sweep: segments of a key.
        part: Which part.
    """

    def __init__(self, store: Store, tenant: str, sweep: str, part: str) -> None:
        self._store = store
        self._tenant = tenant
        self._key = _key(sweep, part)

    async def prefixes(self, prefixes: ScopePrefixes) -> AsyncIterator[str]:
        """See :meth:`LiveScopes.prefixes`.

        Raises:
            PayloadNotFound: Nothing was recorded, or it was removed. An empty record would be there.
            FormatError: It is damaged.
            IntegrityError: It is not what was recorded.
            StoreError: The store cannot or will not give it.
        """
        data = await StoreClient(self._store).get_uncached(self._key, 0)
        places = await prefixes.own_places(self._tenant)
        record = await asyncio.to_thread(_opened, places, self._key, data)
        at = count = 0
        while at < len(record):
            tenant = record[at + 1 : at + 1 + _TAG]
            end = at + 1 + _TAG + record[at]
            tag = record[at + 1 + _TAG : end]
            if len(tag) != record[at]:
                raise FormatError(
                    "what is recorded of live scopes is damaged", "Begin the sweep anew.", self._key
                )
            # A scope's prefix ends with a slash, that of a series does not.
            yield f"{tenant.hex()}/{tag.hex()}" + "/" * (len(tag) == _TAG)
            at = end
            count += 1
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)


def parts(digits: int) -> list[str]:
    """Return the first so many hexadecimal digits of a scope's tag, behind the engine's: 16 parts for one, 256 for two."""
    return [f"{number:0{digits}x}" for number in range(16**digits)] if digits else [""]


async def record(
    index: Index, store: Store, engine: str, place: ScopeSealer, *, sweep: str, digits: int
) -> None:
    """Record an engine's live scopes for each of the :func:`parts`, also where there are none.

    Args:
        index: In which they are; those of other engines, to which there may be references, are left out.
        store: Takes the record.
        engine: Whose scopes.
        place: What to seal it with: a tenant's own place.
        sweep: Name of the sweep: segments of a key.
        digits: By which it is parted.

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
    """Remove what was recorded for a sweep, or under a name that begins with its and a slash.

    Raises:
        StoreError: The store cannot or will not do it.
    """
    await _remove(store, [entry.key async for entry in store.list_objects(f"{_FOLDER}{sweep}/")])


async def forget_older(store: Store, than: datetime) -> None:
    """Remove what sweeps have left that were ended from outside; raises as :func:`forget`."""
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
    """The tenant's keys may have been rotated since it was written."""
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
