"""Unwrapped keys of this process, each for a bounded time, number of uses and number of bytes."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

from coatcheck.codecs.keyring import Key
from coatcheck.errors import ConfigError

DEFAULT_MAX_AGE: Final = 300.0
"""Seconds: the cache of the AWS Encryption SDK's own examples holds keys for one to ten minutes."""
DEFAULT_MAX_USES: Final = 1_000_000
DEFAULT_MAX_BYTES: Final = 2**36
"""64 GiB."""
_RENEWED_AT: Final = 0.9
"""Of the age: what is loaded for a payload can then be had until that payload is done, and never beyond the bound."""
_TENANTS: Final = 4096


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long an unwrapped key may be held, and what may be done with it, before the service is asked again.

    Raises:
        ConfigError: One of them is below 1.
    """

    max_age: float = DEFAULT_MAX_AGE
    """Seconds."""
    max_uses: int = DEFAULT_MAX_USES
    """Payloads that are sealed or opened."""
    max_bytes: int = DEFAULT_MAX_BYTES
    """Bytes of those payloads."""

    def __post_init__(self) -> None:
        if not (self.max_age >= 1 and self.max_uses > 0 and self.max_bytes > 0):
            raise ConfigError(
                "the bounds on cached keys must be at least 1", "Correct max_age, max_uses, max_bytes."
            )


class HeldKeys:
    """The keys of the tenants that were lately in use. Safe to use from several threads.

    What is too old is let go of: whenever anything is done here, and never handed out.

    Args:
        bounds: For each key.
        clock: Seconds, monotonic.
    """

    def __init__(self, bounds: Bounds, clock: Callable[[], float] = time.monotonic) -> None:
        self._bounds = bounds
        self._clock = clock
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()
        self._lock = threading.Lock()

    def use(self, tenant: str, key_id: bytes | None, size: int) -> bool:
        """Count a use for ``size`` bytes of a key, or of the primary; ``False`` if it has to be loaded first."""
        with self._lock:
            now = self._clock()
            held = self._find(tenant, key_id, now - self._bounds.max_age * _RENEWED_AT)
            if held is None or held.uses >= self._bounds.max_uses:
                return False
            # A payload that is larger than the bound has the key to itself.
            if held.uses and held.size + size > self._bounds.max_bytes:
                return False
            held.uses += 1
            held.size += size
            self._tenants.move_to_end(tenant)
            return True

    def key(self, tenant: str, key_id: bytes) -> Key | None:
        """A key that is held."""
        with self._lock:
            held = self._find(tenant, key_id, self._clock() - self._bounds.max_age)
            return None if held is None else held.key

    def primary_key_id(self, tenant: str) -> bytes | None:
        """Of the primary, if it is held."""
        with self._lock:
            held = self._find(tenant, None, self._clock() - self._bounds.max_age)
            return None if held is None else held.key.id

    def key_ids(self, tenant: str) -> tuple[bytes, ...]:
        """Of the keys of a tenant that are held, the primary first."""
        with self._lock:
            since = self._clock() - self._bounds.max_age
            entry = self._tenants.get(tenant)
            held = (
                []
                if entry is None
                else [key_id for key_id in entry.keys if self._find(tenant, key_id, since)]
            )
            return tuple(sorted(held, key=lambda key_id: entry is not None and key_id != entry.primary))

    def hold(self, tenant: str, key: Key, *, primary: bool = False) -> None:
        """Hold a key that was unwrapped just now."""
        with self._lock:
            now = self._clock()
            entry = self._tenants.setdefault(tenant, _Tenant({}))
            entry.keys[key.id] = _Held(key, now)
            if primary:
                entry.primary, entry.primary_since = key.id, now
            self._tenants.move_to_end(tenant)
            if len(self._tenants) > _TENANTS:
                self._tenants.popitem(last=False)
            self._let_go(now - self._bounds.max_age)

    def drop(self, tenant: str) -> None:
        """Let go of a tenant's keys."""
        with self._lock:
            self._tenants.pop(tenant, None)

    def clear(self) -> None:
        """Let go of all keys."""
        with self._lock:
            self._tenants.clear()

    def _find(self, tenant: str, key_id: bytes | None, since: float) -> "_Held | None":
        entry = self._tenants.get(tenant)
        if entry is None:
            return None
        if key_id is None:
            # Which key is the primary grows old by itself: a rotation has to be noticed by those who read a lot, too.
            key_id = entry.primary if entry.primary_since > since else b""
        held = entry.keys.get(key_id)
        return held if held is not None and held.since > since else None

    def _let_go(self, before: float) -> None:
        for tenant, entry in list(self._tenants.items()):
            entry.keys = {key_id: held for key_id, held in entry.keys.items() if held.since > before}
            if not entry.keys:
                del self._tenants[tenant]


@dataclass(slots=True)
class _Held:
    key: Key
    since: float
    uses: int = 0
    size: int = 0


@dataclass(slots=True)
class _Tenant:
    keys: dict[bytes, _Held]
    primary: bytes = b""
    primary_since: float = -inf
