"""From the journal back to the payload."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from coatcheck.concurrency import DECODE_INLINE_UP_TO, all_at_once, off_loop
from coatcheck.contracts import Sealer
from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    FormatError,
    IntegrityError,
    LimitExceeded,
    PayloadNotFound,
)
from coatcheck.format.envelope import INLINE, Envelope, EnvelopeHeader, object_context
from coatcheck.format.reference import Reference
from coatcheck.format.suites import ScopeSealer, Suites
from coatcheck.format.transforms import Transforms
from coatcheck.scope import Scope
from coatcheck.storage.cache import PayloadCache
from coatcheck.storage.lineage import Member
from coatcheck.storage.scope_memory import ScopeMemory
from coatcheck.storage.storeroom import Storeroom
from coatcheck.telemetry import Outcome, decoded, span

_MAX_DEPTH = 64
"""Deltas in a row; a lineage of 2**64 payloads would have them. Only a forged chain without keys goes in circles."""


class Reader:
    """Opens envelopes and references.

    Args:
        suites: What may be opened for whom.
        transforms: The chain's codecs.
        storerooms: By alias.
        cache: Of opened payloads.
        max_payload: Bytes.
    """

    def __init__(
        self,
        suites: Suites,
        transforms: Transforms,
        storerooms: Mapping[str, Storeroom],
        cache: PayloadCache,
        max_payload: int,
    ) -> None:
        self._suites = suites
        self._transforms = transforms
        self._storerooms = storerooms
        self._cache = cache
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
            key = memory.key(reference.object_id)
            payload = self._cache.get(key)
            outcome = Outcome.KNOWN if payload is not None else Outcome.FETCHED
            if payload is None:
                with span("decode", object_id=reference.object_id.hex(), size=reference.size):
                    payload = await room.opening.run(key, lambda: self._load(room, memory, sealer, reference))
        except CoatcheckError as error:
            raise error.about(reference.object_id.hex())  # noqa: B904 - the same error, with the object named
        decoded(outcome, len(payload), len(reference.to_bytes()))
        return payload

    async def _load(
        self, room: Storeroom, memory: ScopeMemory, sealer: Sealer, reference: Reference
    ) -> bytes:
        try:
            return await self._load_once(room, memory, sealer, reference)
        except (FormatError, IntegrityError):
            # Once more: the bytes may have been damaged on their way rather than where they lie.
            for object_id in (reference.object_id, *reference.bases):
                await room.access.forget(memory.key(object_id))
            return await self._load_once(room, memory, sealer, reference)

    async def _load_once(
        self, room: Storeroom, memory: ScopeMemory, sealer: Sealer, reference: Reference
    ) -> bytes:
        assembly = _Assembly(sealer, reference)
        missing = [reference.object_id, *self._missing_bases(assembly, memory)]
        return await self._complete(room, memory, assembly, missing)

    async def open_object(self, room: Storeroom, of: ScopeSealer, object_id: bytes, data: bytes) -> bytes:
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
        memory = room.scope(of.sealer, of.run_tag)
        assembly = _Assembly(of.sealer, reference, sealed={object_id: data})
        return await self._complete(room, memory, assembly, self._missing_bases(assembly, memory))

    def _missing_bases(self, assembly: "_Assembly", memory: ScopeMemory) -> list[bytes]:
        """The bases up to the first that is in the cache, which is taken from there."""
        missing = []
        for base in assembly.reference.bases:
            payload = self._cache.get(memory.key(base))
            if payload is not None:
                assembly.payloads[base] = payload
                break
            missing.append(base)
        return missing

    async def _complete(
        self, room: Storeroom, memory: ScopeMemory, assembly: "_Assembly", missing: list[bytes]
    ) -> bytes:
        """Fetch what is missing until all of it is there, and open it."""
        reference = assembly.reference
        gone: dict[bytes, PayloadNotFound] = {}

        async def fetch(object_id: bytes) -> int:
            try:
                data = await room.get(
                    memory, object_id, reference.size, follow=object_id == reference.object_id
                )
            except PayloadNotFound as error:
                # The object decides which bases it needs: it may have been deleted and made anew with others.
                gone[object_id] = error.about(object_id.hex())
                return 0
            assembly.sealed[object_id] = data
            return len(data)

        while True:
            size = sum(await all_at_once(map(fetch, missing))) + reference.size
            if reference.object_id in gone:
                raise gone[reference.object_id]
            missing = await off_loop(size, DECODE_INLINE_UP_TO, self._assemble, assembly, memory)
            if not missing:
                return assembly.payloads[reference.object_id]
            for object_id in missing:
                if object_id in gone:
                    raise gone[object_id]

    def _assemble(self, assembly: "_Assembly", memory: ScopeMemory) -> list[bytes]:
        """Open everything if all of it is there; else say which objects are missing."""
        for object_id in list(assembly.sealed):
            assembly.authenticate(object_id, assembly.sealed.pop(object_id))
        way: list[bytes] = []
        wanted = assembly.reference.object_id
        while wanted not in assembly.payloads:
            if wanted not in assembly.bodies:
                above = assembly.bodies[way[-1]][0].bases
                return [
                    base for base in above if base not in assembly.bodies and base not in assembly.payloads
                ]
            way.append(wanted)
            header = assembly.bodies[wanted][0]
            self._check_size(header.size)
            if not header.bases:
                break
            if len(way) > _MAX_DEPTH:
                raise FormatError("a delta leads back to itself", "It was not written by coatcheck.")
            wanted = header.bases[0]
            cached = self._cache.get(memory.key(wanted))
            if cached is not None:
                assembly.payloads.setdefault(wanted, cached)
        self._decode(way, assembly, memory)
        return []

    def _decode(self, way: list[bytes], assembly: "_Assembly", memory: ScopeMemory) -> None:
        """Decode the objects of ``way``, each by the one after it; only those that are needed again are kept."""
        below: Member | None = None
        for object_id in reversed(way):
            header, body = assembly.bodies.pop(object_id)
            base = assembly.payloads.pop(header.bases[0]) if header.bases else None
            try:
                payload, place = self._transforms.decode(body, header, base)
            except CoatcheckError as error:
                raise error.about(object_id.hex())  # noqa: B904 - the same error, with the object named
            assembly.payloads[object_id] = payload
            member = Member(object_id, place, header.bases)
            if below is not None and base is not None and member.base_serves_again:
                memory.read(below, base)
            below = member
        if below is not None:
            memory.read(below, assembly.payloads[below.object_id])

    def _storeroom(self, alias: str) -> Storeroom:
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
    """A payload and its bases on their way from the store: sealed, authentic, opened."""

    sealer: Sealer
    reference: Reference
    sealed: dict[bytes, bytes] = field(default_factory=dict)
    bodies: dict[bytes, tuple[EnvelopeHeader, bytes | memoryview]] = field(default_factory=dict)
    payloads: dict[bytes, bytes] = field(default_factory=dict)

    def authenticate(self, object_id: bytes, data: bytes) -> None:
        """Take an object in, if it is the one that was asked for."""
        try:
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
        except CoatcheckError as error:
            raise error.about(object_id.hex())  # noqa: B904 - the same error, with the object named
        self.bodies[object_id] = header, body
