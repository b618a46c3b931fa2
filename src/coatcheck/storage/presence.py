"""Which objects of a scope are in its store, by what this process has seen."""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, NamedTuple

from coatcheck.clock import uptime
from coatcheck.contracts import TENANT_SCOPE_TAG

TRUSTED_FOR: Final = 3600.0
"""Seconds after the last sign of life in a scope for which what is known of it holds: an object that was created there,
or a look that found no sweep. Far below the grace of a sweep (``docs/retention.md``)."""
_KNOWN: Final = 65_536


class _Known(NamedTuple):
    """An object that was written, found or read."""

    bases: tuple[bytes, ...]
    proven: bool
    """Whether it is there to stay: this process created it, or the store said that it is there after a look for a sweep.
    To have read it proves nothing: it may come from a copy, or be on its way out."""


class Presence:
    """Of one scope in one store. Safe to use from several threads.

    Args:
        prefix: What the keys of the scope's objects start with.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.of_tenant = prefix.endswith(f"/{TENANT_SCOPE_TAG.hex()}/")
        """Whether it is the tenant scope. Nobody sweeps that, but an operator can set a time after which its objects go.
        So an object there is relied on only for an hour after this process wrote it."""
        self.is_confirmed = False
        """Whether the store was seen to be without a sweep of the scope."""
        self.replayed = False
        """Whether somebody wrote here before, and it is about to be written and read again from the start."""
        # Of life: to read is none, since it leaves no trace that a sweep could see.
        self._last_sign = uptime()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._listed: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    @property
    def is_out_of_date(self) -> bool:
        """Whether nothing of this holds any more: see :data:`TRUSTED_FOR`."""
        return uptime() - self._last_sign > TRUSTED_FOR

    @property
    def is_cold(self) -> bool:
        """Whether nothing of the scope was written or read here yet."""
        return not self._known

    def key(self, object_id: bytes) -> str:
        """The object's key in the store."""
        return self.prefix + object_id.hex()

    def bases_of(self, object_id: bytes) -> tuple[bytes, ...] | None:
        """The bases of an object that is there, and holds what it should; None if that is not known."""
        known = self._known.get(object_id)
        return known.bases if known and (known.proven or self.is_listed(object_id)) else None

    def is_listed(self, object_id: bytes) -> bool:
        """Whether a listing proves that the object is there to stay. What it holds was not looked at."""
        return self.key(object_id) in self._listed

    def listed(self, keys: Iterable[str]) -> None:
        """These were in a listing that found no sweep of the scope, or began after it was known that there is none."""
        self._listed = frozenset(keys)

    def confirmed(self, since: float) -> None:
        """No sweep is under way that could end within a day of ``since``, by :func:`~coatcheck.clock.uptime`."""
        self.is_confirmed = True
        self._last_sign = max(self._last_sign, since)

    def wrote(self, object_id: bytes, bases: tuple[bytes, ...]) -> None:
        """The object is durable."""
        if not self.of_tenant:
            self._last_sign = uptime()
        self._learn(object_id, _Known(bases, proven=True))

    def found(self, object_id: bytes, bases: tuple[bytes, ...]) -> None:
        """The store said that the object is there, after it was known that nobody sweeps the scope."""
        self._learn(object_id, _Known(bases, proven=not self.of_tenant))

    def read(self, object_id: bytes, bases: tuple[bytes, ...]) -> None:
        """The object was fetched and opened."""
        self._learn(object_id, _Known(bases, proven=False))

    def _learn(self, object_id: bytes, known: _Known) -> None:
        with self._lock:
            before = self._known.get(object_id)
            if known.proven or before is None or not before.proven:
                self._known[object_id] = known
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
