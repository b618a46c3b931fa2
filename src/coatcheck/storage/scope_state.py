"""What a process knows of the scopes in its stores: which objects are there, and what they are like.

It is kept in one place for each scope and store, and bounded for all of them together.
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
"""Bytes of memory for what a process knows of all its scopes together, and has fetched ahead of them."""
TRUSTED_FOR: Final = 3600.0
"""Seconds after the last sign of life in a scope for which what is known of it holds: an object that was created there,
or a look that found no sweep. Far below the grace of a sweep (``docs/retention.md``)."""
_MOST_OBJECTS: Final = 65_536
_SCOPE_COST: Final = 2048
_OBJECT_COST: Final = 220
"""Bytes of memory for an object without bases (measured: 201)."""
_BASE_COST: Final = 80
_LISTED_COST: Final = 200
_PENDING: Final = 8


class Window(Protocol):
    """The part of a scope that is fetched ahead on one event loop: :mod:`coatcheck.storage.prefetch`."""

    @property
    def cost(self) -> int:
        """Bytes of memory that it takes, roughly."""
        ...

    async def listed(self, seconds: float) -> None:
        """Wait until as much is listed as is wanted now, or for so many seconds."""
        ...

    def take(self, key: str) -> asyncio.Task[bytes] | None:
        """Return the task that fetches the object ahead, now the caller's own; None if the store has to be asked."""
        ...

    def follow(self, key: str, *, missed: bool) -> None:
        """Fetch on from where the replay is now."""
        ...

    def give_up(self) -> list[asyncio.Future[object]]:
        """Cancel what is under way, and return it."""
        ...


class _Known(NamedTuple):
    """An object that was written, found or read."""

    bases: tuple[bytes, ...]
    proven: bool
    """True if it is there to stay: this process created it, or the store itself gave it after a look for a sweep.
    To have read it proves nothing: it may come from a copy, or be on its way out."""


class ScopeState:
    """One scope in one store of a chain. Safe to use from several threads.

    Args:
        store: Where its objects are.
        prefix: Start of their keys.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self.prefix = prefix
        self.cached_below = f"{store_name(store)}/{prefix}"
        """Start of the names that its payloads have in a cache."""
        self.owner_of_bodies = object()
        """Bodies that a cache has are only for who knows what they are built on."""
        self.is_tenant_scope = prefix.endswith(f"/{TENANT_SCOPE_TAG.hex()}/")
        """True for the tenant scope. Nobody sweeps that, but an operator can set a time after which its objects go.
        So an object there is relied on only for an hour after this process wrote it, and nothing is built on it."""
        self.is_confirmed = False
        """True if the store was seen to be without a sweep of the scope."""
        self.is_replayed = False
        """True if somebody wrote here before, and it is about to be written and read again from the start."""
        self.newest_record: tuple[int, int] | None = None
        """The position of the newest record that this process wrote or saw in the scope."""
        self.windows: dict[asyncio.AbstractEventLoop, Window] = {}
        """What each event loop fetches ahead; each is used on its own loop only."""
        self.index = BaseIndex()
        """The payloads by their likeness."""
        # Looked into only when a payload is written that could build on them: most that are read never are.
        self.pending: deque[Member] = deque(maxlen=_PENDING)
        """Payloads that are not in the index yet."""
        # Of life: to read is none, since it leaves no trace that a sweep could see.
        self._last_sign = boottime()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._bases = 0
        self._listed: dict[bytes, int] = {}
        self._lock = new_lock()

    @property
    def cost(self) -> int:
        """Bytes of memory that it takes, roughly; caches count by themselves what they have."""
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
        """True if nothing of this holds any more: see :data:`TRUSTED_FOR`."""
        return boottime() - self._last_sign > TRUSTED_FOR

    @property
    def is_cold(self) -> bool:
        """True if nothing of the scope was written or read here yet."""
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
        if not self.is_tenant_scope:
            self._last_sign = boottime()
        self._learn(object_id, _Known(bases, proven=True))

    def found(self, object_id: bytes, bases: tuple[bytes, ...]) -> None:
        """Note that the store itself gave the object, after it was known that nobody sweeps the scope."""
        self._learn(object_id, _Known(bases, proven=not self.is_tenant_scope))

    def read(self, object_id: bytes, bases: tuple[bytes, ...]) -> None:
        """Note that the object was fetched, from wherever, and opened."""
        self._learn(object_id, _Known(bases, proven=False))

    def lost(self, object_ids: Iterable[bytes]) -> None:
        """Forget what was known of objects that turned out to be missing, and of those that were built on them."""
        with self._lock:
            for object_id in object_ids:
                self._listed.pop(object_id, None)
                self._drop(object_id)

    def give_up_windows(self) -> None:
        """Stop all fetching ahead, from whichever thread."""
        for loop, window in list(self.windows.items()):
            if not loop.is_closed():
                try:
                    loop.call_soon_threadsafe(window.give_up)
                except RuntimeError:  # it was closed just now
                    continue
        self.windows.clear()

    def start_anew(self) -> None:
        """In a forked child: what was fetched ahead is the parent's."""
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
    """Scopes of one store of a chain, as long as the process has room for them. Safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._owner = next(_owners)
        finalize(self, PROCESS_SCOPES.forget, self._owner)

    def of(self, prefix: str) -> ScopeState:
        """Return what is known of the scope whose keys start with ``prefix``: nothing, if that is too long ago."""
        return PROCESS_SCOPES.of(self._owner, prefix, lambda: ScopeState(self._store, prefix))

    def all(self) -> list[ScopeState]:
        """Return those of this store."""
        return PROCESS_SCOPES.owned(self._owner)

    @staticmethod
    def forget(prefix: str) -> None:
        """Know nothing of the scope any more, in none of the process's chains."""
        PROCESS_SCOPES.drop(lambda state: state.prefix == prefix)
