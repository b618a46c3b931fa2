"""Knowledge of scopes in this process: which objects are there, and what they hold."""

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from weakref import finalize

from coatcheck.contracts.sealing import Sealer
from coatcheck.contracts.store import Store
from coatcheck.format.codec_pipeline import CodecPipeline
from coatcheck.format.envelope import Body
from coatcheck.pipeline.delta_chain import line_of
from coatcheck.storage.base_index import BaseIndex, Member, Sketch, sketch
from coatcheck.storage.cache import Held, PayloadCache, store_name
from coatcheck.storage.known_objects import KnownObjects
from coatcheck.storage.sized_lru import SizedLru

MAX_SIZE: Final = 64 * 2**20
"""Bytes of memory for what a process knows of all its scopes together."""
_SCOPE_COST: Final = 2048
_PENDING: Final = 8


@dataclass(frozen=True, slots=True)
class Base:
    """An earlier payload by which a new one can be expressed."""

    payload: bytes
    place: int
    """The place that the new payload takes in the lineage."""
    bases: tuple[bytes, ...]
    """Its bases: the first is the object that holds ``payload``."""


class ScopeState:
    """One scope in one store. Safe to use from several threads.

    Args:
        cache: Where the payloads themselves are, as long as there is room for them.
        transforms: By which some of those are decoded only when they are needed.
        store: Where the objects are.
        prefix: Start of the keys of the scope's objects.
    """

    def __init__(self, cache: PayloadCache, transforms: CodecPipeline, store: Store, prefix: str) -> None:
        self.presence = KnownObjects(prefix)
        self.newest_record: tuple[int, int] | None = None
        """The position of the newest record that this process wrote or saw in the scope."""
        self._cache = cache
        self._transforms = transforms
        self._cached_below = f"{store_name(store)}/{prefix}"
        self._holder = object()
        self._lineage = BaseIndex()
        # Looked into only when a payload is written that could build on them: most that are read never are.
        self._pending: deque[Member] = deque(maxlen=_PENDING)

    @property
    def cost(self) -> int:
        """Bytes of memory that it takes, roughly; the cache counts what it has by itself."""
        return _SCOPE_COST + self.presence.cost + self._lineage.cost

    @property
    def is_out_of_date(self) -> bool:
        """True if nothing of this holds any more."""
        return self.presence.is_out_of_date

    def wrote(self, member: Member, payload: bytes, prints: Sketch | None) -> None:
        """Note that an object is durable. ``prints`` are those of the payload, if they are at hand."""
        self.presence.wrote(member.object_id, member.bases)
        self._keep(member.object_id, payload)
        if self.presence.of_tenant:
            return
        if prints is None:
            self._pending.append(member)
        else:
            self._lineage.add(member, prints)

    def found(self, member: Member, payload: bytes) -> None:
        """Note that the store itself gave the object, after it was known that nobody sweeps the scope."""
        self.presence.found(member.object_id, member.bases)
        self._keep(member.object_id, payload)
        self._pending.append(member)

    def read(self, bodies: Sequence[Body], base: bytes | None, sealer: Sealer) -> bytes:
        """Decode what was fetched and opened by ``sealer``; see :meth:`CodecPipeline.decode_line`.

        Bases stay cached, compressed: most of them are never asked for by themselves.
        """
        payload, place = self._transforms.decode_line(bodies, base)
        sealer.check(payload, bodies[0].object_id)
        for body in bodies:
            self.presence.read(body.object_id, body.header.bases)
        target, *others = bodies
        for body in others:
            self._cache.hold(self._cached_as(body.object_id), body, self._holder)
        self._keep(target.object_id, payload)
        self._pending.append(Member(target.object_id, place, target.header.bases))
        return payload

    def unpack(self, bodies: Sequence[Body], base: bytes | None, sealer: Sealer) -> bytes:
        """Decode a cached body and cache the payload instead; see :meth:`CodecPipeline.decode_line`."""
        payload, _ = self._transforms.decode_line(bodies, base)
        sealer.check(payload, bodies[0].object_id)
        self._keep(bodies[0].object_id, payload)
        return payload

    def held(self, object_id: bytes) -> Held | None:
        """Return what there is of an object in memory; see :meth:`PayloadCache.held`."""
        return self._cache.held(self._cached_as(object_id), self._holder)

    def base_for(self, payload: bytes, sealer: Sealer) -> tuple[Base | None, Sketch | None]:
        """Return the best base for a payload, and the payload's sketch if one was made.

        No base where there is none, where it is no longer in memory, where the store itself has not shown all that it is
        built on, and in the tenant scope: what strangers share there must not show in base lists how alike it is, and
        whoever replaces an object there could make it lead back to itself.
        """
        if self.presence.of_tenant:
            return None, None
        self._look_into_pending()
        if not self._lineage:
            return None, None
        prints = sketch(payload)
        like = self._lineage.most_like(prints)
        return (None if like is None else self._after(like, sealer)), prints

    def _after(self, like: Member, sealer: Sealer) -> Base | None:
        place, bases = like.next()
        if not self.presence.are_there(bases):
            return None
        payload = self._first_of(bases, sealer)
        return None if payload is None else Base(payload, place, bases)

    def _first_of(self, line: Sequence[bytes], sealer: Sealer) -> bytes | None:
        """The payload of the first of some objects, each a delta against the next; None if that is not in memory."""
        # All of them are touched: who stands far back in the skip list is needed rarely, and then it saves most.
        held = {object_id: self.held(object_id) for object_id in reversed(line)}
        bodies, base, is_whole = line_of(held[line[0]], held.get)
        return self.unpack(bodies, base, sealer) if bodies and is_whole else base

    def _cached_as(self, object_id: bytes) -> str:
        return self._cached_below + object_id.hex()

    def _keep(self, object_id: bytes, payload: bytes) -> None:
        self._cache.put(self._cached_as(object_id), payload)

    def _look_into_pending(self) -> None:
        while True:
            try:
                member = self._pending.popleft()
            except IndexError:
                return
            payload = self.held(member.object_id)
            if isinstance(payload, bytes):
                self._lineage.add(member, sketch(payload))


PROCESS_SCOPES: Final[SizedLru[ScopeState]] = SizedLru(MAX_SIZE)
_owners: Final = itertools.count()


class ScopeStates:
    """Scopes of one store of a chain, as long as the process has room for them. Safe to use from several threads."""

    def __init__(self, cache: PayloadCache, transforms: CodecPipeline, store: Store) -> None:
        self._cache = cache
        self._transforms = transforms
        self._store = store
        self._owner = next(_owners)
        finalize(self, PROCESS_SCOPES.forget, self._owner)

    def of(self, prefix: str) -> ScopeState:
        """Return what is known of the scope whose keys start with ``prefix``: nothing, if that is too long ago."""

        def make() -> ScopeState:
            return ScopeState(self._cache, self._transforms, self._store, prefix)

        return PROCESS_SCOPES.of(self._owner, prefix, make)

    @staticmethod
    def forget(prefix: str) -> None:
        """Know nothing of the scope any more, in none of the process's chains."""
        PROCESS_SCOPES.drop(lambda memory: memory.presence.prefix == prefix)
