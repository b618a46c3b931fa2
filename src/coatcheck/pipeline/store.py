"""Storing: all I/O that has to end before a reference may be journaled."""

import time
from contextlib import suppress
from typing import Final

from coatcheck.errors import (
    CoatcheckError,
    FormatError,
    IntegrityError,
    LimitExceeded,
    PayloadNotFound,
    StoreUnavailable,
)
from coatcheck.format.codec_pipeline import CodecPipeline
from coatcheck.format.envelope import Envelope, object_context
from coatcheck.pipeline.encode import Draft, Encoder
from coatcheck.runtime.concurrency import DECODE_INLINE_UP_TO, ENCODE_INLINE_UP_TO, all_at_once, off_loop
from coatcheck.storage.base_index import Member
from coatcheck.storage.scoped_store import SEALED_AROUND
from coatcheck.telemetry import Outcome, encoded, span

_CREATE_ATTEMPTS: Final = 3


class Uploader:
    """Makes objects durable. For any number of event loops.

    Args:
        encoder: Makes the objects.
        codecs: The chain's codecs.
    """

    def __init__(self, encoder: Encoder, codecs: CodecPipeline) -> None:
        self._encoder = encoder
        self._codecs = codecs

    async def wait_and_store(self, draft: Draft) -> bytes:
        """Do as :meth:`store` for a new object, after a listing of its scope that is under way."""
        begun = time.monotonic()
        if draft.known_bases() is None:
            await draft.scope.wait_for_listing()
        return await self.store(draft, begun)

    async def store(self, draft: Draft, begun: float) -> bytes:
        """Make an object durable, unless it is already, and return the reference to it.

        Args:
            draft: The object.
            begun: Start of the work on it, for the deadline, in seconds of ``time.monotonic``.

        Raises:
            StoreError: The store cannot or will not take it.
        """
        try:
            with span("encode", object_id=draft.object_id.hex(), size=len(draft.payload)):
                bases = draft.known_bases()
                if bases is None:
                    async with draft.scope.store.client.within(len(draft.payload), begun):
                        bases = await self._store(draft)
                reference = draft.reference(bases)
        except CoatcheckError as error:
            raise error.about(draft.object_id.hex())  # noqa: B904 - the same error, with the object named
        encoded(draft.outcome, len(draft.payload), len(reference))
        return reference

    async def _store(self, draft: Draft) -> tuple[bytes, ...]:
        """Return the bases of the object that is now in the store: ours, or another writer's with the same payload."""
        if draft.scope.state.is_listed(draft.object_id):
            with suppress(PayloadNotFound):
                bases = await self._find(draft)
                if bases is not None:
                    return bases
        if not draft.envelope:
            await off_loop(len(draft.payload), ENCODE_INLINE_UP_TO, self._encoder.seal, draft)
        if draft.scope.state.is_tenant_scope:
            # An object that is already there may be about to expire, so write it again.
            return await self._replace(draft)
        for _ in range(_CREATE_ATTEMPTS):
            if await draft.scope.store.client.create(draft.key, draft.envelope):
                return self._wrote(draft)
            # Only answers of the store after this count. A fresh process that finds its object there is likely to be
            # replaying, so this lists the scope.
            await draft.scope.confirm()
            try:
                bases = await self._find(draft)
            except PayloadNotFound:
                continue
            return await self._replace(draft) if bases is None else bases
        raise StoreUnavailable(
            f"the object was found, then deleted each time just after, {_CREATE_ATTEMPTS} times",
            "Check what else deletes from the store.",
        )

    async def _replace(self, draft: Draft) -> tuple[bytes, ...]:
        """Write the object over an existing one. Write it whole: its bases may be built on the existing one."""
        if draft.base is not None:
            await off_loop(len(draft.payload), ENCODE_INLINE_UP_TO, self._encoder.seal_whole, draft)
        await draft.scope.store.client.replace(draft.key, draft.envelope)
        return self._wrote(draft)

    async def _find(self, draft: Draft) -> tuple[bytes, ...] | None:
        """Return the bases of the object in the store; None if it is torn, foreign or too large, or has another payload."""
        scope, object_id = draft.scope, draft.object_id
        size, listed = len(draft.payload), scope.state.size_listed(object_id)
        limit = size + SEALED_AROUND
        try:
            found = None
            if listed is not None:
                found = await scope.get(object_id, size, follow=True, limit=limit)
            if found is None or len(found) != listed:
                found = await scope.store.client.get_uncached(draft.key, size, limit)
        except LimitExceeded:
            return None
        member = await off_loop(len(found), DECODE_INLINE_UP_TO, self._recognise, draft, found)
        if member is None or not await _are_there(draft, member.bases):
            return None
        scope.state.found(object_id, member.bases)
        scope.keep(object_id, draft.payload)
        scope.state.pending.append(member)
        draft.outcome = Outcome.FOUND
        return member.bases

    def _recognise(self, draft: Draft, found: bytes) -> Member | None:
        try:
            envelope = Envelope.from_bytes(found)
            header = envelope.header
            sealer, context = draft.scope.sealing.sealer, object_context(draft.object_id)
            body = sealer.open(envelope.header_bytes, context, envelope.sealed)
            if not draft.holds(header):
                return None
            return Member(draft.object_id, self._codecs.place(body, header), header.bases)
        except (FormatError, IntegrityError, LimitExceeded):
            return None

    def _wrote(self, draft: Draft) -> tuple[bytes, ...]:
        """Return the bases of the object that is now durable."""
        state, member = draft.scope.state, draft.member
        state.wrote(draft.object_id, member.bases)
        draft.scope.keep(draft.object_id, draft.payload)
        if not state.is_tenant_scope:
            if draft.sketch is None:
                state.pending.append(member)
            else:
                state.index.add(member, draft.sketch)
        draft.outcome = Outcome.DELTA if draft.base else Outcome.OFFLOADED
        return member.bases


async def _are_there(draft: Draft, bases: tuple[bytes, ...]) -> bool:
    """Return True if the store has all bases of an object. One that was restored by hand may lack them."""
    state, client = draft.scope.state, draft.scope.store.client
    unknown = [base for base in bases if not state.are_there([base])]
    return all(await all_at_once(client.is_there(state.key(base)) for base in unknown))
