"""From the payload to the journal."""

from contextlib import suppress
from dataclasses import dataclass

from coatcheck.contracts.sealing import Sealer
from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    FormatError,
    IntegrityError,
    LimitExceeded,
    PayloadNotFound,
    StoreUnavailable,
)
from coatcheck.format.codec_pipeline import CodecPipeline, Encoded
from coatcheck.format.envelope import INLINE, Envelope, EnvelopeHeader, object_context
from coatcheck.format.reference import Reference
from coatcheck.format.suites import ScopeSealer, SealingPolicy
from coatcheck.format.wire import is_ours
from coatcheck.runtime.concurrency import DECODE_INLINE_UP_TO, ENCODE_INLINE_UP_TO, all_at_once, off_loop
from coatcheck.scope import Scope
from coatcheck.storage.base_index import Member, Sketch
from coatcheck.storage.known_objects import KnownObjects
from coatcheck.storage.scope_state import Base, ScopeState
from coatcheck.storage.scoped_store import SEALED_AROUND, ScopedStore
from coatcheck.telemetry import Outcome, encoded, span

_CREATE_ATTEMPTS = 3
_SAMPLE = 4
"""Times the threshold: as much of a payload as is compressed to see whether it is large."""
_SURE_GAIN = 8
"""A delta of at most this part of its payload is taken as it is: hardly anything compresses better by itself."""
_LEAST_GAIN = 0.8
"""A larger delta is taken if it is at most this share of the whole object: else a new lineage begins with that."""


class Writer:
    """Seals payloads, and keeps the large ones in a store.

    Args:
        suites: What new payloads are sealed with.
        transforms: The chain's codecs.
        storeroom: Where large payloads go; None if all stay in the journal.
        over: Bytes after the codecs above which a payload is large.
        max_payload: Bytes.
    """

    def __init__(
        self,
        suites: SealingPolicy,
        transforms: CodecPipeline,
        storeroom: ScopedStore | None,
        over: int,
        max_payload: int,
    ) -> None:
        self._suites = suites
        self._transforms = transforms
        self._room = storeroom
        self._over = over
        self._max_payload = max_payload

    async def write(self, data: bytes, scope: Scope) -> bytes:
        """What to journal in place of ``data``; see :meth:`Chain.encode`."""
        if self._room is None or len(data) <= self._over:
            return await off_loop(len(data), ENCODE_INLINE_UP_TO, self.inline, data, scope)
        async with self._room.access.within(len(data)):
            sealer = self._suites.sealer_for_new(scope)
            await self._room.settled(self._room.scope(sealer.sealer, sealer.run_tag).presence)
            draft = await off_loop(len(data), ENCODE_INLINE_UP_TO, self.prepare, data, scope)
            return draft if isinstance(draft, bytes) else (await self.keep(draft)).to_bytes()

    def prepare(self, data: bytes, scope: Scope) -> "bytes | Draft":
        """All that is computation: what to journal, or an object that :meth:`keep` has yet to store.

        Synchronous, for engines whose hooks are; safe to call in any thread.

        Raises:
            LimitExceeded: ``data`` is larger than ``max_payload``.
        """
        draft = self.promise(data, scope)
        if isinstance(draft, bytes):
            return draft
        bases = draft.presence.bases_of(draft.object_id)
        if bases is not None:
            known = draft.reference(bases).to_bytes()
            encoded(Outcome.KNOWN, len(data), len(known))
            return known
        if draft.presence.is_listed(draft.object_id):
            return draft
        self._find_base(draft)
        if draft.base is None or not self._is_surely_large(data):
            draft.whole = self._transforms.encode(data)
            if len(draft.whole.body) <= self._over:
                return self._inline(data, scope, draft.whole)
        self._seal(draft)
        return draft

    def inline(self, data: bytes, scope: Scope) -> bytes:
        """The payload sealed, whatever its size, so that it can be journaled itself.

        Synchronous; safe to call in any thread. The same payload gives the same bytes.

        Raises:
            LimitExceeded: ``data`` is larger than ``max_payload``.
        """
        self._check_size(data)
        return self._inline(data, scope, self._transforms.encode(data))

    def promise(self, data: bytes, scope: Scope) -> "bytes | Draft":
        """As :meth:`prepare`, in the time that a hash takes: what is above the threshold becomes an object, unseen.

        For hooks that hold up an event loop: :meth:`keep` does the rest.

        Raises:
            LimitExceeded: ``data`` is larger than ``max_payload``.
        """
        if self._room is None or len(data) <= self._over:
            return self.inline(data, scope)
        return self.draft(data, scope)

    def draft(self, data: bytes, scope: Scope) -> "Draft":
        """What becomes an object, whatever its size.

        Raises:
            ConfigError: The chain has no store.
            LimitExceeded: ``data`` is larger than ``max_payload``.
        """
        if self._room is None:
            raise ConfigError("this chain has no store", "Add Offload(store) to it.")
        self._check_size(data)
        suite, key_id, run_tag, sealer = self._suites.sealer_for_new(scope)
        return Draft(
            room=self._room,
            memory=self._room.scope(sealer, run_tag),
            sealer=sealer,
            suite=suite,
            key_id=key_id,
            run_tag=run_tag,
            object_id=sealer.object_id(data),
            payload=data,
        )

    def replaying(self, scope: Scope) -> None:
        """See :meth:`Chain.replaying`."""
        if self._room is not None:
            sealer = self._suites.sealer_for_new(scope)
            self._room.scope(sealer.sealer, sealer.run_tag).presence.replayed = True

    def _check_size(self, data: bytes) -> None:
        if len(data) > self._max_payload:
            raise LimitExceeded(
                f"a payload has {len(data)} bytes, {self._max_payload} are allowed",
                "Split it, or raise Chain(max_payload=...) wherever it is written and read.",
            )

    def _inline(self, data: bytes, scope: Scope, whole: Encoded) -> bytes:
        """The payload sealed, or as it is where that would only make it larger and nothing is secret."""
        if not whole.codecs and not self._suites.encrypts and not is_ours(data):
            encoded(Outcome.PASSED, len(data), len(data))
            return data
        suite, key_id, run_tag, sealer = self._suites.sealer_for_new(scope)
        header = EnvelopeHeader(suite, key_id, run_tag, whole.codecs, len(data))
        sealed = sealer.seal(header.to_bytes(), INLINE, whole.body)
        encoded(Outcome.INLINE, len(data), len(sealed))
        return sealed

    def _is_surely_large(self, data: bytes) -> bool:
        """Whether already the beginning is above the threshold after compression.

        So it is the payload alone that decides what is offloaded, whatever there is to build on, and a payload that
        becomes a small delta need not be compressed whole to find that out.
        """
        return len(self._transforms.encode(data[: _SAMPLE * self._over]).body) > self._over

    def _find_base(self, draft: "Draft") -> None:
        if self._transforms.makes_deltas:
            draft.base, draft.prints = draft.memory.base_for(draft.payload, draft.sealer)

    def _make_whole(self, draft: "Draft") -> None:
        draft.base = None
        self._seal(draft)

    def _make(self, draft: "Draft") -> None:
        self._find_base(draft)
        self._seal(draft)

    def _seal(self, draft: "Draft") -> None:
        encoded = self._delta(draft)
        if encoded is None:
            draft.base = None
            encoded = draft.whole or self._transforms.encode(draft.payload)
        header = EnvelopeHeader(
            draft.suite, draft.key_id, draft.run_tag, encoded.codecs, len(draft.payload), draft.member.bases
        )
        draft.envelope = draft.sealer.seal(header.to_bytes(), object_context(draft.object_id), encoded.body)

    def _delta(self, draft: "Draft") -> Encoded | None:
        """The payload as a delta, if that gains enough."""
        if draft.base is None:
            return None
        delta = self._transforms.encode_delta(draft.payload, draft.base.payload, draft.base.place)
        if delta is None or len(delta.body) * _SURE_GAIN <= len(draft.payload):
            return delta
        draft.whole = draft.whole or self._transforms.encode(draft.payload)
        return delta if len(delta.body) <= _LEAST_GAIN * len(draft.whole.body) else None

    async def keep(self, draft: "Draft") -> Reference:
        """Make the object durable, unless it is there already; then say where it is."""
        try:
            with span("encode", object_id=draft.object_id.hex(), size=len(draft.payload)):
                bases = draft.presence.bases_of(draft.object_id)
                if bases is None:
                    async with draft.room.access.within(len(draft.payload)):
                        bases = await self._keep(draft)
                reference = draft.reference(bases)
        except CoatcheckError as error:
            raise error.about(draft.object_id.hex())  # noqa: B904 - the same error, with the object named
        encoded(draft.outcome, len(draft.payload), len(reference.to_bytes()))
        return reference

    async def _keep(self, draft: "Draft") -> tuple[bytes, ...]:
        room, presence = draft.room, draft.presence
        await room.settled(presence)
        if presence.is_listed(draft.object_id):
            with suppress(PayloadNotFound):
                bases = await self._find(draft)
                if bases is not None:
                    return bases
        if not draft.envelope:
            await off_loop(len(draft.payload), ENCODE_INLINE_UP_TO, self._make, draft)
        return await self._create(draft)

    async def _create(self, draft: "Draft") -> tuple[bytes, ...]:
        """The bases of the object that is now there: ours, or one that another writer made of the same payload."""
        access, key = draft.room.access, draft.presence.key(draft.object_id)
        if draft.presence.of_tenant:
            # What is there can be about to expire: only what was written now is relied on.
            return await self._replace(draft)
        for _ in range(_CREATE_ATTEMPTS):
            if await access.create(key, draft.envelope):
                return _wrote(draft)
            # Only what the store says after this counts. A fresh process that finds its object there is likely to
            # replay, so this lists the scope.
            await draft.room.confirm(draft.presence, draft.scope)
            try:
                bases = await self._find(draft)
            except PayloadNotFound:
                continue
            return await self._replace(draft) if bases is None else bases
        raise StoreUnavailable(
            "the object was deleted each time just after it was found",
            "Check what else deletes from the store.",
        )

    async def _replace(self, draft: "Draft") -> tuple[bytes, ...]:
        """Write the object whatever is there: whole, since what is there may be what its bases are built on."""
        if draft.base is not None:
            await off_loop(len(draft.payload), ENCODE_INLINE_UP_TO, self._make_whole, draft)
        await draft.room.access.replace(draft.presence.key(draft.object_id), draft.envelope)
        return _wrote(draft)

    async def _find(self, draft: "Draft") -> tuple[bytes, ...] | None:
        """The bases of the object that is there; None if it is torn, foreign or too large, and does not hold the payload."""
        room, presence, object_id = draft.room, draft.presence, draft.object_id
        size, listed = len(draft.payload), presence.size_listed(object_id)
        try:
            found = None
            if listed is not None:
                found = await room.get(presence, object_id, size, follow=True, limit=size + SEALED_AROUND)
            if found is None or len(found) != listed:
                found = await room.access.get_uncached(presence.key(object_id), size, size + SEALED_AROUND)
        except LimitExceeded:
            return None
        member = await off_loop(len(found), DECODE_INLINE_UP_TO, self._recognised, draft, found)
        if member is None or not await self._are_there(draft, member.bases):
            return None
        draft.memory.found(member, draft.payload)
        draft.outcome = Outcome.FOUND
        return member.bases

    async def _are_there(self, draft: "Draft", bases: tuple[bytes, ...]) -> bool:
        """Tell if the store has all that an object is built on, which was perhaps put back without it."""
        presence, access = draft.presence, draft.room.access
        unknown = [base for base in bases if not presence.are_there([base])]
        return all(await all_at_once(access.is_there(presence.key(base)) for base in unknown))

    def _recognised(self, draft: "Draft", found: bytes) -> Member | None:
        try:
            envelope = Envelope.from_bytes(found)
            header = envelope.header
            body = draft.sealer.open(envelope.header_bytes, object_context(draft.object_id), envelope.sealed)
            if (header.suite, header.key_id, header.run_tag, header.size) != draft.identity:
                return None
            return Member(draft.object_id, self._transforms.place(body, header), header.bases)
        except (FormatError, IntegrityError, LimitExceeded):
            return None


@dataclass(slots=True)
class Draft:
    """A payload that has yet to be kept in the store."""

    room: ScopedStore
    memory: ScopeState
    sealer: Sealer
    suite: int
    key_id: bytes
    run_tag: bytes
    object_id: bytes
    payload: bytes
    whole: Encoded | None = None
    """The payload after the codecs, if that was needed."""
    envelope: bytes = b""
    """The object; empty until it is needed."""
    base: Base | None = None
    """What the object is a delta against."""
    prints: Sketch | None = None
    outcome: Outcome = Outcome.KNOWN

    @property
    def presence(self) -> KnownObjects:
        """What is known to be in the store of its scope."""
        return self.memory.presence

    @property
    def scope(self) -> ScopeSealer:
        """The sealer of the marks of sweeps in its scope."""
        return ScopeSealer(self.suite, self.key_id, self.run_tag, self.sealer)

    @property
    def identity(self) -> tuple[int, bytes, bytes, int]:
        """What the header of an object that holds the payload says of it."""
        return self.suite, self.key_id, self.run_tag, len(self.payload)

    @property
    def member(self) -> Member:
        """What it becomes in its lineage."""
        if self.base is None:
            return Member(self.object_id)
        return Member(self.object_id, self.base.place, self.base.bases)

    def reference(self, bases: tuple[bytes, ...]) -> Reference:
        """The reference to the object that is there, with the bases of that object."""
        reference = Reference(
            suite=self.suite,
            key_id=self.key_id,
            run_tag=self.run_tag,
            object_id=self.object_id,
            size=len(self.payload),
            store=self.room.alias,
            bases=bases,
        )
        return reference.model_copy(update={"mac": self.sealer.mac(reference.authenticated_bytes())})


def _wrote(draft: Draft) -> tuple[bytes, ...]:
    """The bases of the object that is now durable."""
    draft.memory.wrote(draft.member, draft.payload, draft.prints)
    draft.outcome = Outcome.DELTA if draft.base else Outcome.OFFLOADED
    return draft.member.bases
