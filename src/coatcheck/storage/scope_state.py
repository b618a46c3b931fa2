"""The process's knowledge about the scopes in its stores: known objects, similar payloads, prefetch.

There is one state for each scope and store, and one limit for all of them together.
"""

import asyncio
import itertools
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, Protocol
from weakref import finalize

from coatcheck.contracts.sealing import TENANT_SCOPE_TAG
from coatcheck.contracts.store import Store
from coatcheck.runtime.clock import boottime
from coatcheck.runtime.forks import abandon, new_lock
from coatcheck.storage.base_index import BaseIndex, Member
from coatcheck.storage.cache import store_name
from coatcheck.storage.sized_lru import SizedLru

MAX_SIZE: Final = 160 * 2**20
"""Bytes of memory for the state of all scopes together, including prefetched objects."""
TRUSTED_FOR: Final = 3600.0
"""Seconds for which the state of a scope is valid after the last sign of life: an object that was created there, or a
look that found no sweep. Far below the grace of a sweep (``docs/retention.md``)."""
_MOST_OBJECTS: Final = 65_536
_SCOPE_COST: Final = 2048
_OBJECT_COST: Final = 220
"""Bytes of memory for an object without bases (measured: 201)."""
_BASE_COST: Final = 80
_LISTED_COST: Final = 200
_PENDING: Final = 8


class Window(Protocol):
    """The part of a scope that is prefetched on one event loop: see :mod:`coatcheck.storage.prefetch`."""

    @property
    def cost(self) -> int:
        """Bytes of memory in use, roughly."""
        ...

    async def listed(self, seconds: float) -> None:
        """Wait until the wanted pages are listed, at most this number of seconds."""
        ...

    def take(self, key: str) -> asyncio.Task[bytes] | None:
        """Return the task that prefetches the object, which the caller then owns; None if there is none."""
        ...

    def follow(self, key: str, *, missed: bool) -> None:
        """Prefetch from the position of the replay.

        Args:
            key: The object that was requested last.
            missed: True if it was not prefetched.
        """
        ...

    def give_up(self) -> list[asyncio.Future[object]]:
        """Cancel all tasks, and return them."""
        ...


class _Known(NamedTuple):
    """An object that was written, found or read."""

    bases: tuple[bytes, ...]
    proven: bool
    """True if no sweep deletes it: this process created it, or the store itself returned it after a look for a sweep.
    Reading it proves nothing: it may come from a copy, or be about to be deleted."""


class ScopeState:
    """One scope in one store of a chain. Safe to use from several threads.

    Args:
        store: The store with its objects.
        prefix: The start of their keys.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self.prefix = prefix
        self.cached_below = f"{store_name(store)}/{prefix}"
        """The start of the keys of its payloads in a cache."""
        self.owner_of_bodies = object()
        """The owner of its bodies in a cache, which are only for those who know their bases."""
        self.is_tenant_scope = prefix.endswith(f"/{TENANT_SCOPE_TAG.hex()}/")
        """True for the tenant scope. It is never swept, but an operator can let its objects expire. So an object there is
        relied on only for an hour after this process wrote it, and is never a base."""
        self.is_confirmed = False
        """True if a look found no sweep of the scope."""
        self.is_replayed = False
        """True if the engine is about to replay the run from its start."""
        self.newest_record: tuple[int, int] | None = None
        """The position of the newest record that this process wrote or saw in the scope."""
        self.windows: dict[asyncio.AbstractEventLoop, Window] = {}
        """The prefetch of each event loop; each window is used on its own loop only."""
        self.index = BaseIndex()
        """The payloads by similarity."""
        # They are indexed only when a payload is written that could be built on them: most payloads are only read.
        self.pending: deque[Member] = deque(maxlen=_PENDING)
        """Payloads that are not in the index yet."""
        # Time of the last sign of life. Reading is none, since it leaves no trace that a sweep could see.
        self._last_sign = boottime()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._bases = 0
        self._listed: dict[bytes, int] = {}
        self._lock = new_lock()

    @property
    def cost(self) -> int:
        """Bytes of memory in use, roughly, without those of caches."""
        objects = (
            len(self._known) * _OBJECT_COST + self._bases * _BASE_COST + len(self._listed) * _LISTED_COST
        )
        return (
            _SCOPE_COST
            + objects
            + self.index.cost
            + sum(window.cost for window in list(self.windows.values()))
        )

    @property
    def is_out_of_date(self) -> bool:
        """True if the state is no longer valid: see :data:`TRUSTED_FOR`."""
        return boottime() - self._last_sign > TRUSTED_FOR

    @property
    def is_cold(self) -> bool:
        """True if this process has not yet written or read anything in the scope."""
        return not self._known

    def key(self, object_id: bytes) -> str:
        """Return the object's key in the store."""
        return self.prefix + object_id.hex()

    def bases_of(self, object_id: bytes) -> tuple[bytes, ...] | None:
        """Return the bases of an object that is known to be in the store; None if it is not known to be there."""
        known = self._known.get(object_id)
        return known.bases if known and (known.proven or object_id in self._listed) else None

    def are_there(self, object_ids: Iterable[bytes]) -> bool:
        """Return True if the store itself has shown all of these, so that they can be bases."""
        return all(
            object_id in self._listed or ((known := self._known.get(object_id)) is not None and known.proven)
            for object_id in object_ids
        )

    def is_listed(self, object_id: bytes) -> bool:
        """Return True if a listing proves that the object is there and no sweep deletes it. Its content is not checked."""
        return object_id in self._listed

    def size_listed(self, object_id: bytes) -> int | None:
        """Return the size in bytes of a listed object in the store; None if it is not listed."""
        return self._listed.get(object_id)

    def listed(self, sizes: Mapping[bytes, int]) -> None:
        """Note listed objects with their sizes in bytes. The listing must have found no sweep before it came to them."""
        with self._lock:
            self._listed.update(sizes)

    def confirmed(self, since: float) -> None:
        """Note that a look found no sweep.

        Args:
            since: The time before the look, by :func:`~coatcheck.runtime.clock.boottime`. No sweep can end within a day of it.
        """
        self.is_confirmed = True
        self._last_sign = max(self._last_sign, since)

    def wrote(self, object_id: bytes, bases: tuple[bytes, ...]) -> None:
        """Note that this process has written the object, and it is durable."""
        if not self.is_tenant_scope:
            self._last_sign = boottime()
        self._learn(object_id, _Known(bases, proven=True))

    def found(self, object_id: bytes, bases: tuple[bytes, ...]) -> None:
        """Note that the store itself returned the object, after a look that found no sweep."""
        self._learn(object_id, _Known(bases, proven=not self.is_tenant_scope))

    def read(self, object_id: bytes, bases: tuple[bytes, ...]) -> None:
        """Note that the object was fetched from anywhere and opened."""
        self._learn(object_id, _Known(bases, proven=False))

    def lost(self, object_ids: Iterable[bytes]) -> None:
        """Forget objects that turned out to be missing, or to need missing ones."""
        with self._lock:
            for object_id in object_ids:
                self._listed.pop(object_id, None)
                self._drop(object_id)

    def give_up_windows(self) -> None:
        """Stop all prefetching. Safe to call from any thread."""
        for loop, window in list(self.windows.items()):
            if not loop.is_closed():
                try:
                    loop.call_soon_threadsafe(window.give_up)
                except RuntimeError:  # it was closed just now
                    continue
        self.windows.clear()

    def start_anew(self) -> None:
        """Leave prefetched objects to the parent, in a forked child."""
        abandon(self.windows)
        self.windows = {}

    def _learn(self, object_id: bytes, known: _Known) -> None:
        with self._lock:
            before = self._known.get(object_id)
            if known.proven or before is None or not before.proven:
                self._drop(object_id)
                self._known[object_id] = known
                self._bases += len(known.bases)
            if len(self._known) > _MOST_OBJECTS:
                self._drop(next(iter(self._known)))

    def _drop(self, object_id: bytes) -> None:
        known = self._known.pop(object_id, None)
        if known is not None:
            self._bases -= len(known.bases)


PROCESS_SCOPES: Final[SizedLru[ScopeState]] = SizedLru(
    MAX_SIZE, let_go=ScopeState.give_up_windows, after_fork=ScopeState.start_anew
)
_owners: Final = itertools.count()


class ScopeStates:
    """The states of scopes in one store of a chain; the least recently used are dropped. Safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._owner = next(_owners)
        finalize(self, PROCESS_SCOPES.forget, self._owner)

    def of(self, prefix: str) -> ScopeState:
        """Return the state of the scope whose keys start with ``prefix``; a new one if the known one is out of date."""
        return PROCESS_SCOPES.of(self._owner, prefix, lambda: ScopeState(self._store, prefix))

    def all(self) -> list[ScopeState]:
        """Return the states of this store."""
        return PROCESS_SCOPES.owned(self._owner)

    @staticmethod
    def forget(prefix: str) -> None:
        """Drop the state of the scope in all chains of the process."""
        PROCESS_SCOPES.drop(lambda state: state.prefix == prefix)
