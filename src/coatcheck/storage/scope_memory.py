"""What this process knows of a scope: which objects are there, and what they hold."""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from coatcheck.clock import uptime
from coatcheck.contracts import TENANT_SCOPE_TAG
from coatcheck.errors import CoatcheckError
from coatcheck.format.envelope import Body
from coatcheck.format.transforms import Transforms
from coatcheck.storage.cache import Held, PayloadCache
from coatcheck.storage.line import line_of
from coatcheck.storage.lineage import Lineage, Member, Sketch, sketch

TRUSTED_FOR: Final = 3600.0
"""Seconds after the last sign of life in a scope for which what is known of it holds: an object that was created there,
or a look that found no sweep. Far below the grace of a sweep (``docs/retention.md``)."""
_SCOPES: Final = 1024
_KNOWN: Final = 65_536
_PENDING: Final = 8


@dataclass(frozen=True, slots=True)
class Base:
    """By what a new payload can be expressed."""

    payload: bytes
    place: int
    """The place that the new payload takes in the lineage."""
    bases: tuple[bytes, ...]
    """Its bases: the first is the object that holds ``payload``."""


class _Known(NamedTuple):
    """An object that was written, found or read."""

    bases: tuple[bytes, ...]
    proven: bool
    """Whether it is there to stay: this process created it, or the store said that it is there after a look for a sweep.
    To have read it proves nothing: it may come from a copy, or be on its way out."""


class ScopeMemory:
    """One scope in one store. Safe to use from several threads.

    Args:
        cache: Where the payloads themselves are, as long as there is room for them.
        transforms: By which some of those are decoded only when they are needed.
        prefix: What the keys of the scope's objects start with.
    """

    def __init__(self, cache: PayloadCache, transforms: Transforms, prefix: str) -> None:
        self.prefix = prefix
        self.of_tenant = prefix.endswith(f"/{TENANT_SCOPE_TAG.hex()}/")
        """Whether it is the tenant scope. Nobody sweeps that, but an operator can set a time after which its objects go.
        So an object there is relied on only for an hour after this process wrote it."""
        self.last_sign = uptime()
        """Of life: see :data:`TRUSTED_FOR`. To read is none, since it leaves no trace that a sweep could see."""
        self.is_confirmed = False
        """Whether the store was seen to be without a sweep of the scope."""
        self.replayed = False
        """Whether somebody wrote here before, and it is about to be written and read again from the start."""
        self._cache = cache
        self._transforms = transforms
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._listed: frozenset[str] = frozenset()
        self._lineage = Lineage()
        # Looked into only when a payload is written that could build on them: most that are read never are.
        self._pending: deque[Member] = deque(maxlen=_PENDING)
        self._lock = threading.Lock()

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

    @property
    def is_cold(self) -> bool:
        """Whether nothing of the scope was written or read here yet."""
        return not self._known

    def listed(self, keys: Iterable[str]) -> None:
        """These were in a listing that found no sweep of the scope, or began after it was known that there is none."""
        self._listed = frozenset(keys)

    def confirmed(self, since: float) -> None:
        """No sweep is under way that could end within a day of ``since``, by :func:`~coatcheck.clock.uptime`."""
        self.is_confirmed = True
        self.last_sign = max(self.last_sign, since)

    def wrote(self, member: Member, payload: bytes, prints: Sketch | None) -> None:
        """An object is durable. ``prints`` are those of the payload, if they are at hand."""
        if not self.of_tenant:
            self.last_sign = uptime()
        self._holds(member.object_id, payload, member.bases, proven=True)
        if prints is None:
            self._pending.append(member)
        else:
            self._lineage.add(member, prints)

    def found(self, member: Member, payload: bytes) -> None:
        """The store said that the object is there, after it was known that nobody sweeps the scope."""
        self._holds(member.object_id, payload, member.bases, proven=not self.of_tenant)
        self._pending.append(member)

    def read(self, bodies: Sequence[Body], base: bytes | None) -> bytes:
        """Decode what was fetched and opened; see :meth:`Transforms.decode_line`.

        What it is built on is held as it is: most of that is never asked for by itself.
        """
        payload, place = self._transforms.decode_line(bodies, base)
        (object_id, header, _), *others = bodies
        for body in others:
            self._holds(body.object_id, body, body.header.bases, proven=False)
        self._holds(object_id, payload, header.bases, proven=False)
        self._pending.append(Member(object_id, place, header.bases))
        return payload

    def unpack(self, bodies: Sequence[Body], base: bytes | None) -> bytes:
        """Decode what was held as it is, for good; see :meth:`Transforms.decode_line`."""
        payload, _ = self._transforms.decode_line(bodies, base)
        self._cache.put(self.key(bodies[0].object_id), payload)
        return payload

    def held(self, object_id: bytes) -> Held | None:
        """What there is of an object in memory; see :meth:`PayloadCache.held`."""
        return self._cache.held(self.key(object_id))

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
        if self.bases_of(like.object_id) is None:
            return None
        place, bases = like.next()
        payload = self._first_of(bases)
        return None if payload is None else Base(payload, place, bases)

    def _first_of(self, line: Sequence[bytes]) -> bytes | None:
        """The payload of the first of some objects, each a delta against the next; None if that is not in memory."""
        # All of them are touched: who stands far back in the skip list is needed rarely, and then it saves most.
        held = {object_id: self.held(object_id) for object_id in reversed(line)}
        bodies, base, is_whole = line_of(held[line[0]], held.get)
        if not bodies or not is_whole:
            return base
        try:
            return self.unpack(bodies, base)
        except CoatcheckError:
            # What another chain of this process holds may need codecs that this one does not have.
            return None

    def _holds(self, object_id: bytes, held: Held, bases: tuple[bytes, ...], *, proven: bool) -> None:
        self._cache.put(self.key(object_id), held)
        with self._lock:
            before = self._known.get(object_id)
            if proven or before is None or not before.proven:
                self._known[object_id] = _Known(bases, proven)
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)

    def _look_into_pending(self) -> None:
        while True:
            try:
                member = self._pending.popleft()
            except IndexError:
                return
            payload = self._cache.get(self.key(member.object_id))
            if payload is not None:
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
            if memory is None or uptime() - memory.last_sign > TRUSTED_FOR:
                memory = self._scopes[prefix] = ScopeMemory(self._cache, self._transforms, prefix)
            self._scopes.move_to_end(prefix)
            if len(self._scopes) > _SCOPES:
                self._scopes.popitem(last=False)
            return memory
