"""What this process knows of a scope: which objects are there, and what they hold."""

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from coatcheck.format.envelope import Body
from coatcheck.format.transforms import Transforms
from coatcheck.storage.cache import Held, PayloadCache
from coatcheck.storage.line import line_of
from coatcheck.storage.lineage import Lineage, Member, Sketch, sketch
from coatcheck.storage.presence import Presence

_SCOPES: Final = 1024
_PENDING: Final = 8


@dataclass(frozen=True, slots=True)
class Base:
    """By what a new payload can be expressed."""

    payload: bytes
    place: int
    """The place that the new payload takes in the lineage."""
    bases: tuple[bytes, ...]
    """Its bases: the first is the object that holds ``payload``."""


class ScopeMemory:
    """One scope in one store. Safe to use from several threads.

    Args:
        cache: Where the payloads themselves are, as long as there is room for them.
        transforms: By which some of those are decoded only when they are needed.
        prefix: What the keys of the scope's objects start with.
    """

    def __init__(self, cache: PayloadCache, transforms: Transforms, prefix: str) -> None:
        self.presence = Presence(prefix)
        self._cache = cache
        self._transforms = transforms
        self._holder = object()
        self._lineage = Lineage()
        # Looked into only when a payload is written that could build on them: most that are read never are.
        self._pending: deque[Member] = deque(maxlen=_PENDING)

    def wrote(self, member: Member, payload: bytes, prints: Sketch | None) -> None:
        """An object is durable. ``prints`` are those of the payload, if they are at hand."""
        self.presence.wrote(member.object_id, member.bases)
        self._keep(member.object_id, payload)
        if prints is None:
            self._pending.append(member)
        else:
            self._lineage.add(member, prints)

    def found(self, member: Member, payload: bytes) -> None:
        """The store said that the object is there, after it was known that nobody sweeps the scope."""
        self.presence.found(member.object_id, member.bases)
        self._keep(member.object_id, payload)
        self._pending.append(member)

    def read(self, bodies: Sequence[Body], base: bytes | None) -> bytes:
        """Decode what was fetched and opened; see :meth:`Transforms.decode_line`.

        What it is built on is held as it is: most of that is never asked for by itself.
        """
        payload, place = self._transforms.decode_line(bodies, base)
        for body in bodies:
            self.presence.read(body.object_id, body.header.bases)
        target, *others = bodies
        for body in others:
            self._cache.hold(self.presence.key(body.object_id), body, self._holder)
        self._keep(target.object_id, payload)
        self._pending.append(Member(target.object_id, place, target.header.bases))
        return payload

    def unpack(self, bodies: Sequence[Body], base: bytes | None) -> bytes:
        """Decode what was held as it is, for good; see :meth:`Transforms.decode_line`."""
        payload, _ = self._transforms.decode_line(bodies, base)
        self._keep(bodies[0].object_id, payload)
        return payload

    def held(self, object_id: bytes) -> Held | None:
        """What there is of an object in memory; see :meth:`PayloadCache.held`."""
        return self._cache.held(self.presence.key(object_id), self._holder)

    def base_for(self, payload: bytes) -> tuple[Base | None, Sketch | None]:
        """The best base for a payload, and the payload's sketch if one was made.

        No base where there is none, or where it is no longer in memory.
        """
        self._look_into_pending()
        if not self._lineage:
            return None, None
        prints = sketch(payload)
        like = self._lineage.most_like(prints)
        return (None if like is None else self._after(like)), prints

    def _after(self, like: Member) -> Base | None:
        if self.presence.bases_of(like.object_id) is None:
            return None
        place, bases = like.next()
        payload = self._first_of(bases)
        return None if payload is None else Base(payload, place, bases)

    def _first_of(self, line: Sequence[bytes]) -> bytes | None:
        """The payload of the first of some objects, each a delta against the next; None if that is not in memory."""
        # All of them are touched: who stands far back in the skip list is needed rarely, and then it saves most.
        held = {object_id: self.held(object_id) for object_id in reversed(line)}
        bodies, base, is_whole = line_of(held[line[0]], held.get)
        return self.unpack(bodies, base) if bodies and is_whole else base

    def _keep(self, object_id: bytes, payload: bytes) -> None:
        self._cache.put(self.presence.key(object_id), payload)

    def _look_into_pending(self) -> None:
        while True:
            try:
                member = self._pending.popleft()
            except IndexError:
                return
            payload = self.held(member.object_id)
            if isinstance(payload, bytes):
                self._lineage.add(member, sketch(payload))


class ScopeMemories:
    """Of every scope that was lately in use. Safe to use from several threads."""

    def __init__(self, cache: PayloadCache, transforms: Transforms) -> None:
        self._cache = cache
        self._transforms = transforms
        self._scopes: OrderedDict[str, ScopeMemory] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, prefix: str) -> ScopeMemory:
        """What is known of the scope whose keys start with ``prefix``: nothing, if that is too long ago."""
        with self._lock:
            memory = self._scopes.get(prefix)
            if memory is None or memory.presence.is_out_of_date:
                memory = self._scopes[prefix] = ScopeMemory(self._cache, self._transforms, prefix)
            self._scopes.move_to_end(prefix)
            if len(self._scopes) > _SCOPES:
                self._scopes.popitem(last=False)
            return memory
