"""Looks keys up for references that nobody has verified yet, at a cost that does not grow with their number."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from coatcheck.errors import KeyUnavailable
from coatcheck.keys.key_store import TenantKeyRecords
from coatcheck.runtime.forks import new_lock
from coatcheck.runtime.portal import on_loop
from coatcheck.runtime.single_flight import SingleFlight

_LIST_EVERY: Final = 1.0
"""Seconds between two listings of one tenant's keys that unknown ids cause."""
_REMEMBERED: Final = 5.0
"""Seconds that an id stays unknown: a key is in the store before anything is sealed under it."""
_MOST: Final = 1024
"""Tenants, and unknown ids, that are remembered."""


class _Seen(NamedTuple):
    begun: float
    records: TenantKeyRecords


class Lookups:
    """Recent findings about tenants' keys. Safe to use from several threads and event loops.

    The key that a reference is verified with is named by the reference itself, so whoever can write to a journal can make
    a reader look for keys. However many ids are made up, a tenant's keys are listed at most once a second; who asks
    meanwhile waits for the next listing, and the answer "there is none" is remembered for a few seconds.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._unknown: OrderedDict[tuple[str, bytes], tuple[float, KeyUnavailable]] = OrderedDict()
        self._listing: SingleFlight[None] = SingleFlight()
        self._lock = new_lock()

    def check(self, tenant: str, key_id: bytes) -> None:
        """Raise what :meth:`remember` was told of this key, if that was just now."""
        with self._lock:
            until, error = self._unknown.get((tenant, key_id), (0.0, None))
        if error is not None and self._clock() < until:
            raise KeyUnavailable(error.what, error.todo)

    def remember(self, tenant: str, key_id: bytes, error: KeyUnavailable) -> KeyUnavailable:
        """Note that there is no such key; gives ``error`` back."""
        with self._lock:
            self._unknown[tenant, key_id] = (self._clock() + _REMEMBERED, error)
            self._unknown.move_to_end((tenant, key_id))
            if len(self._unknown) > _MOST:
                self._unknown.popitem(last=False)
        return error

    async def records(
        self, tenant: str, key_id: bytes, read: Callable[[], Awaitable[TenantKeyRecords]]
    ) -> TenantKeyRecords:
        """The tenant's keys as ``read`` gives them: read after this call began, or just before and with this key.

        Raises:
            CoatcheckError: What ``read`` raises.
        """
        asked = self._clock()
        await on_loop()

        async def read_again() -> None:
            begun = self._clock()
            records = await read()
            with self._lock:
                self._seen[tenant] = _Seen(begun, records)
                self._seen.move_to_end(tenant)
                if len(self._seen) > _MOST:
                    self._seen.popitem(last=False)

        while True:
            with self._lock:
                seen = self._seen.get(tenant)
            if seen is not None:
                left = seen.begun + _LIST_EVERY - self._clock()
                if seen.begun >= asked or (left > 0 and _has(seen.records, key_id)):
                    return seen.records
                if left > 0:
                    await asyncio.sleep(left)
                    continue
            await self._listing.run(tenant, read_again)

    def clear(self) -> None:
        """Forget everything: keys were made or destroyed here."""
        with self._lock:
            self._seen.clear()
            self._unknown.clear()


def _has(records: TenantKeyRecords, key_id: bytes) -> bool:
    return any(record.key_id == key_id.hex() for _, record in records.keys)
