"""A store as a chain uses it, scope by scope: what this process knows of a scope, and all access to its objects.

There is one state for each scope and store, and one limit for all of them together.
"""

import asyncio
import itertools
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple
from weakref import finalize

from coatcheck.contracts.sealing import TENANT_SCOPE_TAG
from coatcheck.contracts.store import Store, StoredObject
from coatcheck.format.envelope import Body
from coatcheck.format.suites import ScopeSealer
from coatcheck.format.wire import OBJECT_ID_LENGTH
from coatcheck.runtime.clock import boottime
from coatcheck.runtime.forks import abandon, new_lock
from coatcheck.runtime.single_flight import SingleFlight
from coatcheck.storage.base_index import BaseIndex, Member, Sketch, sketch
from coatcheck.storage.cache import Cached, PayloadCache, store_name
from coatcheck.storage.client import PAGE, StoreClient
from coatcheck.storage.prefetch import Prefetch, Window
from coatcheck.storage.sized_lru import SizedLru
from coatcheck.storage.sweep_marks import SWEEP_MARK, protect_from_sweep

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


SEALED_AROUND: Final = 2**14
"""Bytes that an object may have beside its payload: the header with up to 255 bases, salt, commitment and tag."""


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

    def saw(self, page: list[StoredObject], begun: float, *, is_first: bool) -> list[StoredObject]:
        """Note a page of the scope's listing, and return the objects in it, without records and marks.

        Keys come in order, so objects after a sweep's mark were seen after a look for it.

        Args:
            page: The next page.
            begun: The time before the listing, as in :meth:`confirmed`.
            is_first: True for its first page.
        """
        mark = self.prefix + SWEEP_MARK
        is_marked = any(entry.key == mark for entry in page)
        if is_first and not is_marked and (len(page) < PAGE or page[-1].key > mark):
            self.confirmed(begun)
        # A scope also has records (records.py): no reference names them, and their names are shorter.
        start, length = len(self.prefix), len(self.prefix) + 2 * OBJECT_ID_LENGTH
        objects = [entry for entry in page if len(entry.key) == length]
        if self.is_confirmed:
            self.listed({bytes.fromhex(entry.key[start:]): entry.size for entry in objects})
        return objects

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


class ChainStore:
    """One store of a chain. For any number of event loops.

    Args:
        alias: The store's name in references.
        store: The store itself.
        deadline: Seconds for one call, including all attempts.
        cache: The chain's cache of payloads.
        max_payload: Bytes that a payload may have.
    """

    def __init__(
        self, alias: str, store: Store, deadline: float, cache: PayloadCache, *, max_payload: int
    ) -> None:
        self.alias = alias
        self.client = StoreClient(store, deadline)
        self.cache = cache
        self.opening: SingleFlight[bytes] = SingleFlight()
        self.limit = max_payload + SEALED_AROUND
        """Bytes of the largest object that the chain can write."""
        self.prefetch = Prefetch(self.client, self.limit)
        self._owner = next(_owners)
        finalize(self, PROCESS_SCOPES.forget, self._owner)

    def scope(self, sealing: ScopeSealer) -> "ScopedStore":
        """Return a scope of the store, with a new state if the known one is out of date. Called once for each payload."""
        prefix, store = sealing.prefix, self.client.store
        state = PROCESS_SCOPES.of(self._owner, prefix, lambda: ScopeState(store, prefix))
        return ScopedStore(self, sealing, state)

    async def stop_prefetch(self) -> None:
        """Cancel prefetching on this event loop."""
        await self.prefetch.close(PROCESS_SCOPES.owned(self._owner))

    async def close(self) -> None:
        """Cancel prefetching, and close the store."""
        await self.stop_prefetch()
        await self.client.close()


def forget_scope(sealing: ScopeSealer) -> None:
    """Forget everything about a scope, which may have been deleted, in all chains of the process."""
    prefix = sealing.prefix
    PROCESS_SCOPES.drop(lambda state: state.prefix == prefix)


@dataclass(frozen=True, slots=True)
class ScopedStore:
    """One scope in one store: looked up once for a payload, and passed on with it."""

    store: ChainStore
    sealing: ScopeSealer
    """The sealer of the scope."""
    state: ScopeState
    """The process's knowledge about the scope."""

    def cached(self, object_id: bytes) -> Cached | None:
        """Return the cached form of an object; None if there is none."""
        return self.store.cache.find(self.state.cached_below + object_id.hex(), self.state.owner_of_bodies)

    def keep(self, object_id: bytes, payload: bytes) -> None:
        """Cache a payload."""
        self.store.cache.put(self.state.cached_below + object_id.hex(), payload)

    def keep_body(self, body: Body) -> None:
        """Cache the body of an object that was only needed as a base."""
        key = self.state.cached_below + body.object_id.hex()
        self.store.cache.put_body(key, body, self.state.owner_of_bodies)

    def most_like(self, payload: bytes) -> tuple[Member | None, Sketch | None]:
        """Return the known payload that is most similar to a new one, and the new one's sketch if one was made.

        The tenant scope has none: base lists would reveal how similar the payloads of strangers are, and whoever
        replaces an object there could make a chain circular.
        """
        state = self.state
        if state.is_tenant_scope:
            return None, None
        while True:
            try:
                member = state.pending.popleft()
            except IndexError:
                break
            known = self.cached(member.object_id)
            if isinstance(known, bytes):
                state.index.add(member, sketch(known))
        if not state.index:
            return None, None
        prints = sketch(payload)
        return state.index.most_like(prints), prints

    async def get(self, object_id: bytes, size: int, *, follow: bool, limit: int | None = None) -> bytes:
        """Return an object of the scope. Raises as :meth:`StoreClient.get`.

        Args:
            object_id: The object's id.
            size: Bytes that it is expected to have.
            follow: True to prefetch the objects that were written after it.
            limit: Bytes that it may have; None for the limit of the chain.
        """
        key, limit = self.state.key(object_id), self.store.limit if limit is None else limit
        # The tenant scope is not a run that can be replayed, and can be very large.
        if self.state.is_tenant_scope:
            return await self.store.client.get(key, size, limit)
        return await self.store.prefetch.get(self.state, key, size, limit, follow=follow)

    async def wait_for_listing(self) -> None:
        """Wait a moment for a listing of the scope that is under way, so that listed objects are not written again.

        Starts a listing if the scope is replayed and nothing is known about it.
        """
        state = self.state
        starts = state.is_replayed and state.is_cold
        loop = asyncio._get_running_loop()  # noqa: SLF001 - as asyncio's own run() asks
        if starts or loop in state.windows:
            await self.store.prefetch.wait_for_listing(state, starts=starts)

    async def confirm(self) -> None:
        """Make sure that no sweep deletes anything that the store shows in the scope after this, and list the scope.

        Objects that were seen there before may be gone, and objects that were read prove nothing: they may be copies.

        Makes at most one request if the scope was listed before and is not being swept; none if that is known, or in the
        tenant scope, which is never swept.

        Raises:
            StoreUnavailable: The scope is being swept: its objects will soon be gone, and can then be written again.
            StoreError: The store cannot or will not answer.
        """
        if not self.state.is_tenant_scope and not self.state.is_confirmed:
            await self.store.prefetch.wait_for_listing(self.state, starts=True)
        await self.look_for_sweep()

    async def look_for_sweep(self) -> None:
        """Look for a sweep as :meth:`confirm` does, in one request, without listing the scope."""
        if not self.state.is_tenant_scope and not self.state.is_confirmed:
            begun = boottime()
            await protect_from_sweep(self.store.client, self.sealing)
            self.state.confirmed(begun)
