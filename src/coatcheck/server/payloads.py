"""What the server does with payloads, in the terms of the Temporal integration."""

from collections.abc import Sequence

from temporalio.api.common.v1 import Payload

from coatcheck.chain import Chain
from coatcheck.errors import LimitExceeded
from coatcheck.format.envelope import Envelope
from coatcheck.format.reference import Reference
from coatcheck.format.wire import is_reference
from coatcheck.integrations.temporal.codec import ENCODING, ClaimCheckCodec
from coatcheck.integrations.temporal.native import from_native, to_native
from coatcheck.scope import Scope
from coatcheck.server.refusals import Answer, Refused


class PayloadDesk:
    """Opens and seals payloads for whole namespaces. Safe for use by any number of tasks and event loops.

    Args:
        chain: Every payload's path.
        download_over: Bytes of a payload that is worth a download of its own.
        max_response: Bytes of all the payloads that one call may give back.
    """

    def __init__(self, chain: Chain, *, download_over: int, max_response: int) -> None:
        self._chain = chain
        self._download_over = download_over
        self._max_response = max_response

    async def decode(
        self, payloads: Sequence[Payload], namespace: str, *, keep_references: bool
    ) -> list[Payload]:
        """Open each that is ours; same length and order. What is not ours is handed on untouched.

        Args:
            payloads: As they stand in the history.
            namespace: Whose they have to be.
            keep_references: Leave Temporal's own references as they are, and give references of the codec as
                Temporal's own where the payload is large, so that the web UI offers a download.

        Raises:
            CoatcheckError: As :meth:`coatcheck.Chain.open`.
            LimitExceeded: Together they are larger than ``max_response``. Nothing was fetched.
        """
        if not keep_references:
            return await self._open(payloads, namespace)
        kept = {place: found for place, payload in enumerate(payloads) if (found := self._kept(payload))}
        opened = iter(
            await self._open([item for place, item in enumerate(payloads) if place not in kept], namespace)
        )
        return [kept.get(place) or next(opened) for place in range(len(payloads))]

    async def download(self, payloads: Sequence[Payload], namespace: str) -> list[Payload]:
        """Open each, all of which have to be ours: what is behind a download in the web UI.

        Raises:
            Refused: One of them is not ours.
            CoatcheckError: As :meth:`decode`.
        """
        if not all(_is_ours(payload) or from_native(payload) for payload in payloads):
            raise Refused(Answer.UNDECODABLE, "there is something to download that is not ours")
        return await self._open(payloads, namespace)

    async def encode(self, payloads: Sequence[Payload], namespace: str) -> list[Payload]:
        """Seal each, in the scope of the namespace; same length and order.

        Raises:
            CoatcheckError: As :meth:`coatcheck.Chain.encode`.
        """
        return await self._codec(namespace).encode(payloads)

    async def _open(self, payloads: Sequence[Payload], namespace: str) -> list[Payload]:
        found = [from_native(payload) or payload for payload in payloads]
        size = sum(map(_size, found))
        if size > self._max_response:
            raise LimitExceeded(f"the answer would have {size} bytes", "Raise serve.max_response.")
        return await self._codec(namespace).decode(found)

    def _codec(self, namespace: str) -> ClaimCheckCodec:
        return ClaimCheckCodec(self._chain, Scope(namespace))

    def _kept(self, payload: Payload) -> Payload | None:
        """What stands in for a payload that is not opened now. Nothing of it is verified: it is the caller's own."""
        if from_native(payload) is not None:
            return payload
        if _is_ours(payload) and is_reference(payload.data):
            reference = Reference.from_bytes(payload.data)
            if reference.size > self._download_over:
                return to_native(reference)
        return None


def _is_ours(payload: Payload) -> bool:
    return payload.metadata.get("encoding") == ENCODING


def _size(payload: Payload) -> int:
    """Bytes that opening it gives at most: whatever is opened has to have the size that is stated here."""
    if not _is_ours(payload):
        return payload.ByteSize()
    if is_reference(payload.data):
        return Reference.from_bytes(payload.data).size
    return Envelope.from_bytes(payload.data).header.size
