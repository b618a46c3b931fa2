"""Decoding: from the journal back to the payload."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    FormatError,
    IntegrityError,
    LimitExceeded,
    PayloadNotFound,
)
from coatcheck.format.codec_pipeline import CodecPipeline
from coatcheck.format.envelope import INLINE, Body, Envelope, object_context
from coatcheck.format.reference import Reference
from coatcheck.format.suites import SealingPolicy
from coatcheck.runtime.concurrency import DECODE_INLINE_UP_TO, all_at_once, off_loop
from coatcheck.scope import Scope
from coatcheck.storage.base_index import Member
from coatcheck.storage.cache import Cached
from coatcheck.storage.scoped_store import SEALED_AROUND, ChainStore, ScopedStore
from coatcheck.telemetry import Outcome, decoded, span

_MAX_LENGTH: Final = 64
"""A delta chain of this length would take 2**64 payloads. Only a forged one, in a chain without keys, can be circular."""


class DeltaChain(NamedTuple):
    """The objects that a payload is decoded from, as far as they are available: each is a delta against the next."""

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


def unpack(
    codecs: CodecPipeline, scope: ScopedStore, bodies: Sequence[Body], base: bytes | None
) -> tuple[bytes, int]:
    """Decode opened objects as :meth:`CodecPipeline.decode_chain` does, and cache the payload and its bases.

    Args:
        codecs: The chain's codecs.
        scope: The scope of the objects.
        bodies: The payload's own, and those that it is built on.
        base: The payload that the last one is a delta against; None if that one is whole.
    """
    payload, place = codecs.decode_chain(bodies, base)
    target, *others = bodies
    scope.sealing.sealer.check(payload, target.object_id)
    for body in others:
        # Compressed: most bases are never requested themselves.
        scope.keep_body(body)
    scope.keep(target.object_id, payload)
    return payload, place


class Decoder:
    """Opens envelopes and references. For any number of event loops.

    Args:
        policy: Decides what may be opened.
        codecs: The chain's codecs.
        stores: The chain's stores by alias.
        max_payload: Bytes that a payload may have.
    """

    def __init__(
        self,
        policy: SealingPolicy,
        codecs: CodecPipeline,
        stores: Mapping[str, ChainStore],
        max_payload: int,
    ) -> None:
        self._policy = policy
        self._codecs = codecs
        self._stores = stores
        self._max_payload = max_payload

    def open_inline(self, data: bytes, scope: Scope) -> bytes:
        """Return the payload of an envelope in the journal. Does no I/O; safe to call from any thread.

        Args:
            data: The envelope.
            scope: The scope that it belongs to.

        Raises:
            CoatcheckError: As :meth:`Chain.open`.
        """
        envelope = Envelope.from_bytes(data)
        header = envelope.header
        sealer = self._policy.sealer_for(header, scope).sealer
        body = sealer.open(envelope.header_bytes, INLINE, envelope.sealed)
        self._check_size(header.size)
        payload = self._codecs.decode(body, header, None)[0]
        decoded(Outcome.INLINE, len(payload), len(data))
        return payload

    async def open_reference(self, data: bytes, scope: Scope) -> bytes:
        """Return the payload of a reference, which is verified before anything is fetched.

        Args:
            data: The reference in its binary form.
            scope: The scope that it belongs to.

        Raises:
            CoatcheckError: As :meth:`Chain.open`.
        """
        reference = Reference.from_bytes(data)
        try:
            await self._policy.load(reference, scope.tenant)
            sealing = self._policy.verify(reference, data, scope)
            self._check_size(reference.size)
            scoped = self._store(reference.store).scope(sealing)
            cached = scoped.cached(reference.object_id)
            if isinstance(cached, bytes):
                payload, outcome = cached, Outcome.KNOWN
            else:
                assembly = _Assembly(scoped, reference, cached)
                with span("decode", object_id=reference.object_id.hex(), size=reference.size):
                    payload = await self._opened(assembly)
                outcome = Outcome.FETCHED if cached is None or assembly.bodies else Outcome.KNOWN
        except CoatcheckError as error:
            raise error.about(reference.object_id.hex())  # noqa: B904 - the same error, with the object named
        decoded(outcome, len(payload), len(data))
        return payload

    async def open_object(self, scope: ScopedStore, object_id: bytes, data: bytes) -> bytes:
        """Return the payload of an object that is already fetched, without a reference. Raises as :meth:`open_reference`.

        Args:
            scope: The scope that the object is in.
            object_id: The object's id.
            data: The object's bytes.
        """
        header = Envelope.from_bytes(data).header
        suite, key_id, run_tag, _ = scope.sealing
        reference = Reference(
            suite=suite,
            key_id=key_id,
            run_tag=run_tag,
            object_id=object_id,
            size=header.size,
            store=scope.store.alias,
            bases=header.bases,
        )
        return await self._complete(_Assembly(scope, reference, sealed={object_id: data}))

    async def _opened(self, assembly: "_Assembly") -> bytes:
        """Load the payload, once for all concurrent callers."""
        scope, reference = assembly.scope, assembly.reference
        key = scope.state.key(reference.object_id)
        async with scope.store.client.within(reference.size * len(assembly.chain)):
            return await scope.store.opening.run(key, lambda: self._load(assembly))

    async def _load(self, assembly: "_Assembly") -> bytes:
        try:
            return await self._complete(assembly)
        except (FormatError, IntegrityError, LimitExceeded, PayloadNotFound):
            if assembly.reference.object_id in assembly.gone:
                raise
            # Try again: the bytes may have been damaged in transit, or come from a copy that is older than the object and
            # needs bases that are gone.
            scope = assembly.scope
            for object_id in {*assembly.chain, *assembly.met}:
                await scope.store.client.forget(scope.state.key(object_id))
            scope.state.lost(assembly.met)
            return await self._complete(_Assembly(scope, assembly.reference, is_fresh=True))

    async def _complete(self, assembly: "_Assembly") -> bytes:
        """Fetch missing objects until none is missing, then decode."""
        scope, reference, gone = assembly.scope, assembly.reference, assembly.gone

        async def fetch(object_id: bytes) -> int:
            is_target = object_id == reference.object_id
            limit = reference.size + SEALED_AROUND if is_target else scope.store.limit
            try:
                if assembly.is_fresh:
                    key = scope.state.key(object_id)
                    data = await scope.store.client.get(key, reference.size, limit)
                else:
                    data = await scope.get(object_id, reference.size, follow=is_target, limit=limit)
            except PayloadNotFound as error:
                # The object itself says which bases it needs: it may have been deleted and written again with others.
                gone[object_id] = error.about(object_id.hex())
                return 0
            assembly.sealed[object_id] = data
            return len(data)

        missing = assembly.missing(assembly.chain)
        while True:
            size = sum(await all_at_once(map(fetch, missing))) + reference.size
            assembly.met.update(missing)
            if reference.object_id in gone:
                raise gone[reference.object_id]
            found = await off_loop(size, DECODE_INLINE_UP_TO, self._assemble, assembly)
            if isinstance(found, bytes):
                return found
            missing = found
            for object_id in missing:
                if object_id in gone:
                    raise gone[object_id]

    def _assemble(self, assembly: "_Assembly") -> bytes | list[bytes]:
        """Return the payload if no object is missing; else the missing objects."""
        scope = assembly.scope
        assembly.authenticate()
        target_at_hand = assembly.find(assembly.reference.object_id)
        bodies, base, is_whole = delta_chain_of(target_at_hand, assembly.find)
        target, *others = bodies
        if not is_whole:
            # The cached object may have been written again since, with other bases.
            last = bodies[-1]
            return assembly.missing(last.header.bases) if assembly.has_fetched(last) else [last.object_id]
        for body in bodies:
            self._check_size(body.header.size)
        fetched = list(itertools.takewhile(assembly.has_fetched, others))
        cached = others[len(fetched) :]
        if cached:
            # Other payloads were built on it, so more are likely to be.
            base, _ = unpack(self._codecs, scope, cached, base)
        payload, place = unpack(self._codecs, scope, [target, *fetched], base)
        for body in (target, *fetched):
            scope.state.read(body.object_id, body.header.bases)
        scope.state.pending.append(Member(target.object_id, place, target.header.bases))
        return payload

    def _store(self, alias: str) -> ChainStore:
        if alias not in self._stores:
            raise ConfigError(
                f"the payload is in the store {alias!r}, which is not in this chain: it has {sorted(self._stores) or 'none'}",
                "Add the store as Offload(alias=...) or Offload(read_also=...).",
            )
        return self._stores[alias]

    def _check_size(self, size: int) -> None:
        if size > self._max_payload:
            raise LimitExceeded(
                f"the payload has {size} bytes, {self._max_payload} are allowed",
                "Raise Chain(max_payload=...) if payloads of this size are expected.",
            )


@dataclass(slots=True)
class _Assembly:
    """A payload that is being fetched, with the objects that it is built on: first sealed, then authentic."""

    scope: ScopedStore
    reference: Reference
    cached: Body | None = None
    """The payload's own cached body."""
    sealed: dict[bytes, bytes] = field(default_factory=dict)
    bodies: dict[bytes, Body] = field(default_factory=dict)
    met: set[bytes] = field(default_factory=set)
    """Objects that were asked for."""
    gone: dict[bytes, PayloadNotFound] = field(default_factory=dict)
    """The objects that do not exist."""
    is_fresh: bool = False
    """True to ignore cached bodies. Cached payloads are used: they are right wherever they came from."""

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The objects that the reference lists: each is a delta against the next."""
        return self.reference.object_id, *self.reference.bases

    def find(self, object_id: bytes) -> Cached | None:
        """Return the cached or fetched form of an object; for bases the payload itself is preferred."""
        if object_id == self.reference.object_id:
            return self.bodies.get(object_id, self.cached)
        cached = self.scope.cached(object_id)
        if isinstance(cached, bytes):
            return cached
        return self.bodies.get(object_id, None if self.is_fresh else cached)

    def has_fetched(self, body: Body) -> bool:
        """Return True if it was fetched, so that it is the store's current one."""
        return body.object_id in self.bodies

    def missing(self, chain: Sequence[bytes]) -> list[bytes]:
        """Return the objects to fetch, of a chain in which each is a delta against the next."""
        missing = []
        for object_id in chain:
            at_hand = self.find(object_id)
            if isinstance(at_hand, bytes):
                break
            if at_hand is None and object_id not in self.sealed:
                missing.append(object_id)
        return missing

    def authenticate(self) -> None:
        """Open the fetched objects, if they are authentic."""
        for object_id in list(self.sealed):
            data = self.sealed.pop(object_id)
            try:
                self.bodies[object_id] = self._open(object_id, data)
            except CoatcheckError as error:
                raise error.about(object_id.hex())  # noqa: B904 - the same error, with the object named

    def _open(self, object_id: bytes, data: bytes) -> Body:
        envelope = Envelope.from_bytes(data)
        header, reference = envelope.header, self.reference
        if (header.suite, header.key_id, header.run_tag) != (
            reference.suite,
            reference.key_id,
            reference.run_tag,
        ) or (object_id == reference.object_id and header.size != reference.size):
            raise IntegrityError(
                "the object is not the one that the reference was written for",
                "Restore the original object.",
            )
        sealer, context = self.scope.sealing.sealer, object_context(object_id)
        body = sealer.open(envelope.header_bytes, context, envelope.sealed)
        return Body(object_id, header, body)
