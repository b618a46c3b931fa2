"""Delta chains: an object, the object that it is a delta against, and so on up to one that is whole."""

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
"""A chain of this length would take 2**64 payloads. Only a forged one, in a chain without keys, can be circular."""


class DeltaChain(NamedTuple):
    """The objects that a payload is decoded from, as far as they are available."""

    bodies: list[Body]
    """The nearest first; empty if the payload itself is available."""
    base: bytes | None
    """The payload that the last of ``bodies`` is a delta against; None if that one is whole."""
    is_whole: bool
    """True if nothing is missing."""


def delta_chain_of(cached: Cached | None, find: Callable[[bytes], Cached | None]) -> DeltaChain:
    """Return the delta chain of an object.

    Args:
        cached: The available form of the object itself.
        find: Returns the available form of another object.

    Raises:
        FormatError: The chain is circular.
    """
    bodies: list[Body] = []
    while isinstance(cached, Body):
        bodies.append(cached)
        if len(bodies) > _MAX_LENGTH:
            raise FormatError(
                "a delta chain is circular", "It was not written by coatcheck. Find out who wrote it."
            )
        if not cached.header.bases:
            return DeltaChain(bodies, None, is_whole=True)
        cached = find(cached.header.bases[0])
    return DeltaChain(bodies, cached, is_whole=cached is not None)


@dataclass(frozen=True, slots=True)
class Base:
    """An earlier payload that a new one can be a delta against."""

    payload: bytes
    place: int
    """The new payload's place in the delta chain."""
    bases: tuple[bytes, ...]
    """The new payload's bases; the first is the object of ``payload``."""


class DeltaChains:
    """Decodes and caches payloads, and finds bases for new ones. Safe to use from several threads.

    Args:
        cache: The cache for payloads, and for bodies that they can be decoded from.
        codecs: The chain's codecs.
    """

    def __init__(self, cache: PayloadCache, codecs: CodecPipeline) -> None:
        self._cache = cache
        self._codecs = codecs

    def cached(self, scope: ScopedStore, object_id: bytes) -> Cached | None:
        """Return the cached form of an object; None if there is none."""
        return self._cache.find(scope.state.cached_below + object_id.hex(), scope.state.owner_of_bodies)

    def keep(self, scope: ScopedStore, object_id: bytes, payload: bytes) -> None:
        """Cache a payload."""
        self._cache.put(scope.state.cached_below + object_id.hex(), payload)

    def read(self, scope: ScopedStore, bodies: Sequence[Body], base: bytes | None) -> bytes:
        """Decode fetched and opened objects and cache the payload. See :meth:`CodecPipeline.decode_chain`.

        Bases are cached compressed: most of them are never requested themselves.
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
        """Decode a cached body and cache the payload instead. See :meth:`CodecPipeline.decode_chain`."""
        payload, _ = self._codecs.decode_chain(bodies, base)
        scope.sealing.sealer.check(payload, bodies[0].object_id)
        self.keep(scope, bodies[0].object_id, payload)
        return payload

    def base_for(self, scope: ScopedStore, payload: bytes) -> tuple[Base | None, Sketch | None]:
        """Return the best base for a payload, and the payload's sketch if one was made.

        There is no base if no payload is similar, if the base is no longer cached, or if the store itself has not shown
        all objects that it is built on. The tenant scope has no bases either: base lists would reveal how similar the
        payloads of strangers are, and whoever replaces an object there could make a chain circular.
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
        # This marks all of them as recently used: those far back in the skip list are needed rarely, but save most.
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
