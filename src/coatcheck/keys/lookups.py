"""Lookups of keys for references that are not yet verified, at a cost that does not grow with their number."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from copy import copy
from typing import Final, NamedTuple

from coatcheck.errors import KeyUnavailable
from coatcheck.keys.key_store import TenantKeyRecords
from coatcheck.runtime.forks import new_lock
from coatcheck.runtime.portal import on_loop
from coatcheck.runtime.single_flight import SingleFlight

_LIST_EVERY: Final = 1.0
"""Seconds between two listings of one tenant's keys that are caused by unknown ids."""
_REMEMBERED: Final = 5.0
"""Seconds that an id stays unknown. That is safe: a key is in the store before anything is sealed under it."""
_MOST: Final = 1024
"""Maximum number of remembered tenants, and of unknown ids."""


class _Seen(NamedTuple):
    begun: float
    records: TenantKeyRecords


class Lookups:
    """Recent findings about tenants' keys. Safe to use from several threads and event loops.

    A reference itself names the key that verifies it, so whoever can write to a journal can make a reader look for keys.
    However many ids are invented, a tenant's keys are listed at most once a second. Callers wait for the next listing,
    and the answer that a key does not exist is remembered for 5 seconds.

    Args:
        clock: Returns seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._unknown: OrderedDict[tuple[str, bytes], tuple[float, KeyUnavailable]] = OrderedDict()
        self._listing: SingleFlight[None] = SingleFlight()
        self._lock = new_lock()

    def check(self, tenant: str, key_id: bytes) -> None:
        """Raise the error that :meth:`remember` noted for this key, if it is recent.

        Raises:
            KeyUnavailable: The tenant has no such key.
            KeyDestroyed: It was destroyed.
        """
        with self._lock:
            until, error = self._unknown.get((tenant, key_id), (0.0, None))
        if error is not None and self._clock() < until:
            # A copy: each raise adds to the traceback, and whoever catches it may name an object in it.
            raise copy(error)

    def remember(self, tenant: str, key_id: bytes, error: KeyUnavailable) -> KeyUnavailable:
        """Note that there is no such key, and return ``error``."""
        with self._lock:
            self._unknown[tenant, key_id] = (self._clock() + _REMEMBERED, copy(error))
            self._unknown.move_to_end((tenant, key_id))
            if len(self._unknown) > _MOST:
                self._unknown.popitem(last=False)
        return error

    async def records(
        self, tenant: str, key_id: bytes, read: Callable[[], Awaitable[TenantKeyRecords]]
    ) -> TenantKeyRecords:
        """Return the tenant's keys: read after this call began, or just before if this key is among them.

        Args:
            tenant: The tenant's name.
            key_id: The id that is looked for.
            read: Reads the keys from the store.

        Raises:
            CoatcheckError: As ``read``.
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
        """Forget everything, since this process has made or destroyed keys."""
        with self._lock:
            self._seen.clear()
            self._unknown.clear()


def _has(records: TenantKeyRecords, key_id: bytes) -> bool:
    return any(record.key_id == key_id.hex() for _, record in records.keys)
