"""From the journal back to the payload."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from coatcheck.contracts.sealing import Sealer
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
from coatcheck.format.suites import ScopeSealer, SealingPolicy
from coatcheck.pipeline.delta_chain import line_of
from coatcheck.runtime.concurrency import DECODE_INLINE_UP_TO, all_at_once, off_loop
from coatcheck.scope import Scope
from coatcheck.storage.cache import Held
from coatcheck.storage.scope_state import ScopeState
from coatcheck.storage.scoped_store import SEALED_AROUND, ScopedStore
from coatcheck.telemetry import Outcome, decoded, span


class Reader:
    """Opens envelopes and references.

    Args:
        suites: What may be opened for whom.
        transforms: The chain's codecs.
        storerooms: By alias.
        max_payload: Bytes.
    """

    def __init__(
        self,
        suites: SealingPolicy,
        transforms: CodecPipeline,
        storerooms: Mapping[str, ScopedStore],
        max_payload: int,
    ) -> None:
        self._suites = suites
        self._transforms = transforms
        self._storerooms = storerooms
        self._max_payload = max_payload

    def open_inline(self, data: bytes, scope: Scope) -> bytes:
        """The payload of an envelope that stands in the journal itself."""
        envelope = Envelope.from_bytes(data)
        header = envelope.header
        body = self._suites.sealer_for(header, scope).open(envelope.header_bytes, INLINE, envelope.sealed)
        self._check_size(header.size)
        payload = self._transforms.decode(body, header, None)[0]
        decoded(Outcome.INLINE, len(payload), len(data))
        return payload

    async def open_reference(self, reference: Reference, scope: Scope) -> bytes:
        """The payload behind a reference, which is verified before anything is fetched."""
        try:
            if self._suites.loads_keys:
                await self._suites.load(reference, scope.tenant)
            sealer = self._suites.verify(reference, scope)
            self._check_size(reference.size)
            room = self._storeroom(reference.store)
            memory = room.scope(sealer, reference.run_tag)
            held = memory.held(reference.object_id)
            if isinstance(held, bytes):
                payload, outcome = held, Outcome.KNOWN
            else:
                key = memory.presence.key(reference.object_id)
                with span("decode", object_id=reference.object_id.hex(), size=reference.size):
                    assembly = _Assembly(memory, sealer, reference, held)
                    async with room.access.within(reference.size * len(assembly.line)):
                        payload = await room.opening.run(key, lambda: self._load(room, assembly))
                outcome = Outcome.FETCHED if held is None or assembly.bodies else Outcome.KNOWN
        except CoatcheckError as error:
            raise error.about(reference.object_id.hex())  # noqa: B904 - the same error, with the object named
        decoded(outcome, len(payload), len(reference.to_bytes()))
        return payload

    async def _load(self, room: ScopedStore, assembly: "_Assembly") -> bytes:
        try:
            return await self._complete(room, assembly)
        except (FormatError, IntegrityError, LimitExceeded, PayloadNotFound):
            if assembly.reference.object_id in assembly.gone:
                raise
            # Once more: the bytes may have been damaged on their way, or be those of a copy that is older than the object
            # and builds on what is not there any more.
            for object_id in {*assembly.line, *assembly.met}:
                await room.access.forget(assembly.memory.presence.key(object_id))
            assembly.memory.presence.lost(assembly.met)
            again = _Assembly(assembly.memory, assembly.sealer, assembly.reference, is_fresh=True)
            return await self._complete(room, again)

    async def open_object(self, room: ScopedStore, of: ScopeSealer, object_id: bytes, data: bytes) -> bytes:
        """The payload of an object that was fetched already, whoever refers to it; raises as :meth:`open_reference`."""
        header = Envelope.from_bytes(data).header
        reference = Reference(
            suite=of.suite,
            key_id=of.key_id,
            run_tag=of.run_tag,
            object_id=object_id,
            size=header.size,
            store=room.alias,
            bases=header.bases,
        )
        return await self._complete(
            room, _Assembly(room.scope(of.sealer, of.run_tag), of.sealer, reference, sealed={object_id: data})
        )

    async def _complete(self, room: ScopedStore, assembly: "_Assembly") -> bytes:
        """Fetch what is missing until all of it is there, and decode it."""
        reference, presence = assembly.reference, assembly.memory.presence
        gone = assembly.gone

        async def fetch(object_id: bytes) -> int:
            is_target = object_id == reference.object_id
            limit = reference.size + SEALED_AROUND if is_target else room.limit
            try:
                if assembly.is_fresh:
                    data = await room.access.get(presence.key(object_id), reference.size, limit)
                else:
                    data = await room.get(presence, object_id, reference.size, follow=is_target, limit=limit)
            except PayloadNotFound as error:
                # The object decides which bases it needs: it may have been deleted and made anew with others.
                gone[object_id] = error.about(object_id.hex())
                return 0
            assembly.sealed[object_id] = data
            return len(data)

        missing = assembly.missing(assembly.line)
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
        """The payload if all that it takes is there; else the objects that are missing."""
        assembly.authenticate()
        bodies, base, is_whole = line_of(assembly.find(assembly.reference.object_id), assembly.find)
        target, *others = bodies
        if not is_whole:
            # What was in memory may have been made anew since, and be built on others now.
            last = bodies[-1]
            return assembly.missing(last.header.bases) if assembly.has_fetched(last) else [last.object_id]
        for body in bodies:
            self._check_size(body.header.size)
        fetched = list(itertools.takewhile(assembly.has_fetched, others))
        held = others[len(fetched) :]
        if held:
            # It was built on before, and so likely will be again.
            base = assembly.memory.unpack(held, base, assembly.sealer)
        return assembly.memory.read([target, *fetched], base, assembly.sealer)

    def _storeroom(self, alias: str) -> ScopedStore:
        if alias not in self._storerooms:
            raise ConfigError(
                f"the payload is in a store called {alias!r}; this chain has {sorted(self._storerooms) or 'none'}",
                "Name that store in Offload(alias=...) or Offload(read_also=...).",
            )
        return self._storerooms[alias]

    def _check_size(self, size: int) -> None:
        if size > self._max_payload:
            raise LimitExceeded(
                f"the payload has {size} bytes, {self._max_payload} are allowed",
                "Raise Chain(max_payload=...) if payloads of this size are expected.",
            )


@dataclass(slots=True)
class _Assembly:
    """A payload on its way from the store, with what it is built on: sealed, then authentic."""

    memory: ScopeState
    sealer: Sealer
    reference: Reference
    held: Body | None = None
    """Of the payload itself, from memory."""
    sealed: dict[bytes, bytes] = field(default_factory=dict)
    bodies: dict[bytes, Body] = field(default_factory=dict)
    met: set[bytes] = field(default_factory=set)
    """Objects that were asked for."""
    gone: dict[bytes, PayloadNotFound] = field(default_factory=dict)
    """Those of them that are not there."""
    is_fresh: bool = False
    """True if nothing in memory counts but whole payloads: those are right wherever they came from."""

    @property
    def line(self) -> tuple[bytes, ...]:
        """The objects that it takes, by the reference: each a delta against the one after it."""
        return self.reference.object_id, *self.reference.bases

    def find(self, object_id: bytes) -> Held | None:
        """What is at hand of an object: of those that the payload is built on, best of all their own payload."""
        if object_id == self.reference.object_id:
            return self.bodies.get(object_id, self.held)
        held = self.memory.held(object_id)
        if isinstance(held, bytes):
            return held
        return self.bodies.get(object_id, None if self.is_fresh else held)

    def has_fetched(self, body: Body) -> bool:
        """Whether it is what the store has now."""
        return body.object_id in self.bodies

    def missing(self, line: Sequence[bytes]) -> list[bytes]:
        """Those that have to be fetched, of objects of which each is a delta against the one after it."""
        missing = []
        for object_id in line:
            held = self.find(object_id)
            if isinstance(held, bytes):
                break
            if held is None and object_id not in self.sealed:
                missing.append(object_id)
        return missing

    def authenticate(self) -> None:
        """Take in what was fetched, if it is what was asked for."""
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
        body = self.sealer.open(envelope.header_bytes, object_context(object_id), envelope.sealed)
        return Body(object_id, header, body)
