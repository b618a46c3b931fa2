"""Objects of a scope that are in its store, by what this process has seen."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from coatcheck.contracts.sealing import TENANT_SCOPE_TAG
from coatcheck.runtime.clock import boottime
from coatcheck.runtime.forks import new_lock

TRUSTED_FOR: Final = 3600.0
"""Seconds after the last sign of life in a scope for which what is known of it holds: an object that was created there,
or a look that found no sweep. Far below the grace of a sweep (``docs/retention.md``)."""
_KNOWN: Final = 65_536
_KNOWN_COST: Final = 220
"""Bytes of memory for an object without bases (measured: 201)."""
_BASE_COST: Final = 80
_LISTED_COST: Final = 200


class _Known(NamedTuple):
    """An object that was written, found or read."""

    bases: tuple[bytes, ...]
    proven: bool
    """True if it is there to stay: this process created it, or the store itself gave it after a look for a sweep.
    To have read it proves nothing: it may come from a copy, or be on its way out."""


class KnownObjects:
    """Objects of one scope in one store. Safe to use from several threads.

    Args:
        prefix: Start of the keys of the scope's objects.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.of_tenant = prefix.endswith(f"/{TENANT_SCOPE_TAG.hex()}/")
        """Whether it is the tenant scope. Nobody sweeps that, but an operator can set a time after which its objects go.
        So an object there is relied on only for an hour after this process wrote it, and nothing is built on it."""
        self.is_confirmed = False
        """Whether the store was seen to be without a sweep of the scope."""
        self.replayed = False
        """Whether somebody wrote here before, and it is about to be written and read again from the start."""
        # Of life: to read is none, since it leaves no trace that a sweep could see.
        self._last_sign = boottime()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._bases = 0
        self._listed: dict[bytes, int] = {}
        self._lock = new_lock()

    @property
    def cost(self) -> int:
        """Bytes of memory that it takes, roughly."""
        return len(self._known) * _KNOWN_COST + self._bases * _BASE_COST + len(self._listed) * _LISTED_COST

    @property
    def is_out_of_date(self) -> bool:
        """Whether nothing of this holds any more: see :data:`TRUSTED_FOR`."""
        return boottime() - self._last_sign > TRUSTED_FOR

    @property
    def is_cold(self) -> bool:
        """Whether nothing of the scope was written or read here yet."""
        return not self._known

    def key(self, object_id: bytes) -> str:
        """Return the object's key in the store."""
        return self.prefix + object_id.hex()

    def bases_of(self, object_id: bytes) -> tuple[bytes, ...] | None:
        """Return the bases of an object that is there, as far as is known; None if it is not known to be there."""
        known = self._known.get(object_id)
        return known.bases if known and (known.proven or object_id in self._listed) else None

    def are_there(self, object_ids: Iterable[bytes]) -> bool:
        """Tell if the store itself has shown all of these, so that something can be built on them."""
        return all(
            object_id in self._listed or ((known := self._known.get(object_id)) is not None and known.proven)
            for object_id in object_ids
        )

    def is_listed(self, object_id: bytes) -> bool:
        """Tell if a listing proves that the object is there to stay. Nobody has looked at what it holds."""
        return object_id in self._listed

    def size_listed(self, object_id: bytes) -> int | None:
        """Return the bytes of a listed object as it lies in the store; None if it is not listed."""
        return self._listed.get(object_id)

    def listed(self, sizes: Mapping[bytes, int]) -> None:
        """Note objects and their bytes from a listing that had found no sweep of the scope when it came to them."""
        with self._lock:
            self._listed.update(sizes)

    def confirmed(self, since: float) -> None:
        """Note that no sweep is under way that could end within a day of ``since``, by :func:`~coatcheck.runtime.clock.boottime`."""
        self.is_confirmed = True
        self._last_sign = max(self._last_sign, since)

    def wrote(self, object_id: bytes, bases: tuple[bytes, ...]) -> None:
        """Note that the object is durable."""
        if not self.of_tenant:
            self._last_sign = boottime()
        self._learn(object_id, _Known(bases, proven=True))

    def found(self, object_id: bytes, bases: tuple[bytes, ...]) -> None:
        """Note that the store itself gave the object, after it was known that nobody sweeps the scope."""
        self._learn(object_id, _Known(bases, proven=not self.of_tenant))

    def read(self, object_id: bytes, bases: tuple[bytes, ...]) -> None:
        """Note that the object was fetched, from wherever, and opened."""
        self._learn(object_id, _Known(bases, proven=False))

    def lost(self, object_ids: Iterable[bytes]) -> None:
        """Forget what was known of objects that turned out to be missing, and of those that were built on them."""
        with self._lock:
            for object_id in object_ids:
                self._listed.pop(object_id, None)
                self._drop(object_id)

    def _learn(self, object_id: bytes, known: _Known) -> None:
        with self._lock:
            before = self._known.get(object_id)
            if known.proven or before is None or not before.proven:
                self._drop(object_id)
                self._known[object_id] = known
                self._bases += len(known.bases)
            if len(self._known) > _KNOWN:
                self._drop(next(iter(self._known)))

    def _drop(self, object_id: bytes) -> None:
        known = self._known.pop(object_id, None)
        if known is not None:
            self._bases -= len(known.bases)
