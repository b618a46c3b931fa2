"""Payloads that are built on one another: from an object to the one that it is a delta against, and on to one that stands alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from coatcheck.errors import FormatError
from coatcheck.format.codec_pipeline import CodecPipeline
from coatcheck.format.envelope import Body
from coatcheck.storage.base_index import Member, Sketch, sketch
from coatcheck.storage.cache import Cached, PayloadCache
from coatcheck.storage.scoped_store import ScopedStore

_MAX_LENGTH: Final = 64
"""2**64 payloads of a scope would make such a chain. Only a forged one without keys goes in circles."""


class DeltaChain(NamedTuple):
    """The objects that a payload is decoded from, as far as they are at hand."""

    bodies: list[Body]
    """The nearest first; none where the payload itself is at hand."""
    base: bytes | None
    """The payload that the last of ``bodies`` is a delta against; None if that stands alone."""
    is_whole: bool
    """True if nothing is missing."""


def delta_chain_of(cached: Cached | None, find: Callable[[bytes], Cached | None]) -> DeltaChain:
    """Return the chain that an object is decoded from.

    Args:
        cached: What is at hand of the object itself.
        find: Returns what is at hand of another.

    Raises:
        FormatError: It leads back to itself.
    """
    bodies: list[Body] = []
    while isinstance(cached, Body):
        bodies.append(cached)
        if len(bodies) > _MAX_LENGTH:
            raise FormatError("a delta leads back to itself", "It was not written by coatcheck.")
        if not cached.header.bases:
            return DeltaChain(bodies, None, is_whole=True)
        cached = find(cached.header.bases[0])
    return DeltaChain(bodies, cached, is_whole=cached is not None)


@dataclass(frozen=True, slots=True)
class Base:
    """An earlier payload by which a new one can be expressed."""

    payload: bytes
    place: int
    """The place that the new payload takes."""
    bases: tuple[bytes, ...]
    """The new payload's bases: the first is the object that holds ``payload``."""


class DeltaChains:
    """Decodes payloads from what is cached of them. Safe to use from several threads.

    Args:
        cache: Of payloads, and of bodies that they can be decoded from.
        codecs: The chain's.
    """

    def __init__(self, cache: PayloadCache, codecs: CodecPipeline) -> None:
        self._cache = cache
        self._codecs = codecs

    def cached(self, scope: ScopedStore, object_id: bytes) -> Cached | None:
        """Return what there is of an object in memory."""
        return self._cache.find(scope.state.cached_below + object_id.hex(), scope.state.owner_of_bodies)

    def keep(self, scope: ScopedStore, object_id: bytes, payload: bytes) -> None:
        """Cache a payload."""
        self._cache.put(scope.state.cached_below + object_id.hex(), payload)

    def read(self, scope: ScopedStore, bodies: Sequence[Body], base: bytes | None) -> bytes:
        """Decode what was fetched and opened; see :meth:`CodecPipeline.decode_chain`.

        Bases stay cached, compressed: most of them are never asked for by themselves.
        """
        payload, place = self._codecs.decode_chain(bodies, base)
        state = scope.state
        scope.sealing.sealer.check(payload, bodies[0].object_id)
        for body in bodies:
            state.read(body.object_id, body.header.bases)
        target, *others = bodies
        for body in others:
            self._cache.put_body(state.cached_below + body.object_id.hex(), body, state.owner_of_bodies)
        self.keep(scope, target.object_id, payload)
        state.pending.append(Member(target.object_id, place, target.header.bases))
        return payload

    def unpack(self, scope: ScopedStore, bodies: Sequence[Body], base: bytes | None) -> bytes:
        """Decode a cached body and cache the payload instead; see :meth:`CodecPipeline.decode_chain`."""
        payload, _ = self._codecs.decode_chain(bodies, base)
        scope.sealing.sealer.check(payload, bodies[0].object_id)
        self.keep(scope, bodies[0].object_id, payload)
        return payload

    def base_for(self, scope: ScopedStore, payload: bytes) -> tuple[Base | None, Sketch | None]:
        """Return the best base for a payload, and the payload's sketch if one was made.

        No base where there is none, where it is no longer in memory, where the store itself has not shown all that it is
        built on, and in the tenant scope: what strangers share there must not show in base lists how alike it is, and
        whoever replaces an object there could make it lead back to itself.
        """
        state = scope.state
        if state.is_tenant_scope or not self._codecs.makes_deltas:
            return None, None
        self._index_pending(scope)
        if not state.index:
            return None, None
        prints = sketch(payload)
        like = state.index.most_like(prints)
        return (None if like is None else self._after(scope, like)), prints

    def _after(self, scope: ScopedStore, like: Member) -> Base | None:
        place, bases = like.next()
        if not scope.state.are_there(bases):
            return None
        # All of them are touched: who stands far back in the skip list is needed rarely, and then it saves most.
        cached = {object_id: self.cached(scope, object_id) for object_id in reversed(bases)}
        bodies, payload, is_whole = delta_chain_of(cached[bases[0]], cached.get)
        if bodies and is_whole:
            payload = self.unpack(scope, bodies, payload)
        return None if payload is None or not is_whole else Base(payload, place, bases)

    def _index_pending(self, scope: ScopedStore) -> None:
        pending = scope.state.pending
        while True:
            try:
                member = pending.popleft()
            except IndexError:
                return
            payload = self.cached(scope, member.object_id)
            if isinstance(payload, bytes):
                scope.state.index.add(member, sketch(payload))
