"""Cache of the process's unwrapped keys, each for a limited time, or until the end of the attempt that loaded it."""

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
"""Seconds: in the examples of the AWS Encryption SDK, keys are cached for one to ten minutes."""
_RENEWED_AT: Final = 0.9
"""Share of the maximum age at which a key is renewed, so that it stays usable until a payload is done, but no longer."""
_TENANTS: Final = 4096
"""Maximum number of tenants."""


class KeyCache:
    """The keys of recently used tenants. Safe to use from several threads.

    A key that is too old is never returned, except to the attempt that loaded it
    (:class:`~coatcheck.keys.lease.KeyLease`); it is dropped when another key is put.

    Args:
        max_age: Seconds that a key is cached before the service is called again.
        clock: Returns seconds, monotonic.

    Raises:
        ConfigError: ``max_age`` is below 1.
    """

    def __init__(self, max_age: float, clock: Callable[[], float] = time.monotonic) -> None:
        if not max_age >= 1:
            raise ConfigError("max_age is below 1 second", "Set max_age to 1 or more.")
        self._max_age = max_age
        self._clock = clock
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()
        self._lock = new_lock()

    def is_fresh(self, tenant: str, key_id: bytes | None) -> bool:
        """Return True if a key is cached and need not be renewed yet. It then joins the lease of the calling attempt.

        Args:
            tenant: The tenant's name.
            key_id: The key's id; None for the primary.
        """
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
        """Return True if a key, or the primary if ``key_id`` is None, can be used."""
        with self._lock:
            return self._find(tenant, key_id, self._clock() - self._max_age) is not None

    def postpone(self, tenant: str, seconds: float) -> None:
        """Let the tenant's keys count as fresh for this number of seconds, but never beyond their maximum age."""
        with self._lock:
            if tenant in self._tenants:
                self._tenants[tenant].postponed_until = self._clock() + seconds

    def key(self, tenant: str, key_id: bytes) -> Key | None:
        """Return a cached key; None if it is not cached."""
        return self._get(tenant, key_id)

    def primary_key_id(self, tenant: str) -> bytes | None:
        """Return the id of the primary; None if it is not cached."""
        key = self._get(tenant, None)
        return None if key is None else key.id

    def key_ids(self, tenant: str) -> tuple[bytes, ...]:
        """Return the ids of the cached keys of a tenant, the primary first."""
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
        """Cache a key that was unwrapped just now.

        Args:
            tenant: The tenant's name.
            key: The key.
            primary: True if it is the tenant's primary.
        """
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
        """Drop a tenant's keys."""
        with self._lock:
            self._tenants.pop(tenant, None)

    def clear(self) -> None:
        """Drop all keys."""
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
            # The choice of the primary has its own age: processes that read a lot must notice a rotation as well.
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
