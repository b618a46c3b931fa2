"""Unwrapped keys of this process, each for a bounded time, or until the attempt is over that it was loaded for."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

from coatcheck.contracts.keys import Key
from coatcheck.errors import ConfigError
from coatcheck.keys.lease import current_lease
from coatcheck.runtime.forks import new_lock

DEFAULT_MAX_AGE: Final = 300.0
"""Seconds: the cache of the AWS Encryption SDK's own examples holds keys for one to ten minutes."""
_RENEWED_AT: Final = 0.9
"""Of the age: what is loaded for a payload can then be had until that payload is done, and never beyond the bound."""
_TENANTS: Final = 4096


class KeyCache:
    """The keys of the tenants that were lately in use. Safe to use from several threads.

    What is too old is let go of: whenever anything is done here, and never handed out, except to the attempt that it was loaded
    for (:class:`~coatcheck.keys.lease.KeyLease`).

    Args:
        max_age: Seconds that a key is held before the service is asked again.
        clock: Seconds, monotonic.

    Raises:
        ConfigError: ``max_age`` is below 1.
    """

    def __init__(self, max_age: float, clock: Callable[[], float] = time.monotonic) -> None:
        if not max_age >= 1:
            raise ConfigError("cached keys must be held for at least a second", "Correct max_age.")
        self._max_age = max_age
        self._clock = clock
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()
        self._lock = new_lock()

    def is_fresh(self, tenant: str, key_id: bytes | None) -> bool:
        """Tell if a key, or the primary, is cached, and need not be renewed yet; the attempt that asks has it from then on."""
        if self._leased(tenant, key_id) is not None:
            return True
        with self._lock:
            now = self._clock()
            entry = self._tenants.get(tenant)
            if entry is None:
                return False
            self._tenants.move_to_end(tenant)
            age = self._max_age * (1 if now < entry.postponed_until else _RENEWED_AT)
            cached = self._find(tenant, key_id, now - age)
        if cached is None:
            return False
        self._lease(tenant, cached.key, primary=key_id is None)
        return True

    def is_cached(self, tenant: str, key_id: bytes | None) -> bool:
        """Tell if a key, or the primary, can be had."""
        with self._lock:
            return self._find(tenant, key_id, self._clock() - self._max_age) is not None

    def postpone(self, tenant: str, seconds: float) -> None:
        """Let the tenant's keys count as fresh for so long, but never beyond their age."""
        with self._lock:
            if tenant in self._tenants:
                self._tenants[tenant].postponed_until = self._clock() + seconds

    def key(self, tenant: str, key_id: bytes) -> Key | None:
        """A key that is held."""
        return self._get(tenant, key_id)

    def primary_key_id(self, tenant: str) -> bytes | None:
        """Of the primary, if it is held."""
        key = self._get(tenant, None)
        return None if key is None else key.id

    def key_ids(self, tenant: str) -> tuple[bytes, ...]:
        """Of the keys of a tenant that are cached, the primary first."""
        with self._lock:
            since = self._clock() - self._max_age
            entry = self._tenants.get(tenant)
            cached = (
                []
                if entry is None
                else [key_id for key_id in entry.keys if self._find(tenant, key_id, since)]
            )
            primary = b"" if entry is None else entry.primary
        lease = current_lease()
        if lease is not None:
            cached += [key_id for key_id in lease.key_ids(self, tenant) if key_id not in cached]
            leased = lease.find(self, tenant, None)
            primary = primary if leased is None else leased.id
        return tuple(sorted(cached, key=lambda key_id: key_id != primary))

    def put(self, tenant: str, key: Key, *, primary: bool = False) -> None:
        """Hold a key that was unwrapped just now."""
        with self._lock:
            now = self._clock()
            entry = self._tenants.setdefault(tenant, _Tenant({}))
            entry.keys[key.id] = _CachedKey(key, now)
            entry.postponed_until = -inf
            if primary:
                entry.primary, entry.primary_since = key.id, now
            self._tenants.move_to_end(tenant)
            if len(self._tenants) > _TENANTS:
                self._tenants.popitem(last=False)
            self._drop_expired(now - self._max_age)

    def drop(self, tenant: str) -> None:
        """Let go of a tenant's keys."""
        with self._lock:
            self._tenants.pop(tenant, None)

    def clear(self) -> None:
        """Let go of all keys."""
        with self._lock:
            self._tenants.clear()

    def _get(self, tenant: str, key_id: bytes | None) -> Key | None:
        leased = self._leased(tenant, key_id)
        if leased is not None:
            return leased
        with self._lock:
            cached = self._find(tenant, key_id, self._clock() - self._max_age)
        return None if cached is None else self._lease(tenant, cached.key, primary=key_id is None)

    def _leased(self, tenant: str, key_id: bytes | None) -> Key | None:
        lease = current_lease()
        return None if lease is None else lease.find(self, tenant, key_id)

    def _lease(self, tenant: str, key: Key, *, primary: bool) -> Key:
        lease = current_lease()
        if lease is not None:
            lease.keep(self, tenant, key, primary=primary)
        return key

    def _find(self, tenant: str, key_id: bytes | None, since: float) -> "_CachedKey | None":
        entry = self._tenants.get(tenant)
        if entry is None:
            return None
        if key_id is None:
            # Which key is the primary grows old by itself: a rotation has to be noticed by those who read a lot, too.
            key_id = entry.primary if entry.primary_since > since else b""
        cached = entry.keys.get(key_id)
        return cached if cached is not None and cached.since > since else None

    def _drop_expired(self, before: float) -> None:
        for tenant, entry in list(self._tenants.items()):
            entry.keys = {key_id: cached for key_id, cached in entry.keys.items() if cached.since > before}
            if not entry.keys:
                del self._tenants[tenant]


@dataclass(slots=True)
class _CachedKey:
    key: Key
    since: float


@dataclass(slots=True)
class _Tenant:
    keys: dict[bytes, _CachedKey]
    primary: bytes = b""
    primary_since: float = -inf
    postponed_until: float = -inf
