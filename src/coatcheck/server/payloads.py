"""Decoding and encoding of payloads for the server, by the Temporal integration."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple

from temporalio.api.common.v1 import Payload

from coatcheck.chain import Chain
from coatcheck.errors import CoatcheckError, LimitExceeded, StoreUnavailable, is_outage
from coatcheck.format.envelope import Envelope
from coatcheck.format.reference import Reference
from coatcheck.format.wire import is_reference
from coatcheck.integrations.temporal.codec import ENCODING, ClaimCheckCodec
from coatcheck.integrations.temporal.native import from_native, to_native
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.scope import Scope
from coatcheck.server.placeholders import Unopened
from coatcheck.server.refusals import Refusal, Refused, refusal_of

_EACH: Final = 1024
"""Most bytes that a payload takes beyond its own: its object, its placeholder."""


class Plan(NamedTuple):
    """The work for a request; nothing has been fetched yet."""

    size: int
    """Most bytes of the answer's payloads."""
    carry_out: Callable[[float], Coroutine[Any, Any, list[Payload | Unopened]]]
    """Do the work, until a point in the loop's time. Returns one result for each payload of the request, in order."""


class Reach(NamedTuple):
    """The namespaces that a request reaches.

    A caller who may read a namespace may ask for everything in it, so decoding one of its payloads reveals nothing new.
    """

    namespace: str
    """The namespace of the request."""
    nexus: tuple[str, ...] = ()
    """Namespaces at the other end of its Nexus operations that the caller may also read."""
    withheld: tuple[str, ...] = ()
    """Such namespaces that the caller may not read."""


class _Sealed(NamedTuple):
    payload: Payload
    size: int
    """Most bytes of the decoded payload: decoding checks the size that is stated in it."""


class PayloadDesk:
    """A decoder and encoder of payloads for whole namespaces. Safe for any number of tasks and event loops.

    Args:
        chain: The chain that decodes and encodes payloads.
        download_over: Threshold in bytes above which the web UI offers a download.
        max_response: Most bytes of all decoded payloads of one request.
    """

    def __init__(self, chain: Chain, *, download_over: int, max_response: int) -> None:
        self._chain = chain
        self._download_over = download_over
        self._max_response = max_response

    def decode(self, payloads: Sequence[Payload], reach: Reach, *, keep_references: bool) -> Plan:
        """Plan to decode our payloads; others are returned unchanged if the chain accepts them.

        A payload that cannot be decoded does not hide the others: it is returned as :class:`Unopened`. So is one with which
        the decoded payloads would exceed ``max_response``; it is not fetched.

        Args:
            payloads: The payloads as they are in the history.
            reach: The namespaces to which they may belong.
            keep_references: Return Temporal's own references unchanged, and convert our references to large payloads into
                Temporal's own, so that the web UI offers a download.

        Returns:
            A plan; it raises the error if every payload failed because a store or a key service is away.
        """
        items = self._look_at(payloads, keep_references=keep_references)

        async def carry_out(until: float) -> list[Payload | Unopened]:
            done = await self._open(items, reach, until)
            opened = [after for before, after in zip(items, done, strict=True) if isinstance(before, _Sealed)]
            outages = [after for after in opened if isinstance(after, Unopened) and is_outage(after.error)]
            if opened and len(outages) == len(opened):
                raise outages[0].error
            return done

        return Plan(_size(items), carry_out)

    def download(self, payloads: Sequence[Payload], reach: Reach) -> Plan:
        """Plan to decode all payloads, which must be ours, for a download in the web UI.

        A download has no placeholders, since users would take one for the payload: a failure is an error.

        Args:
            payloads: The payloads as they are in the history.
            reach: The namespaces to which they may belong.

        Returns:
            A plan; it raises Refused if one does not open.

        Raises:
            Refused: A payload is not ours or has an unknown form, or together they are larger than ``max_response``.
        """
        if not all(_is_ours(payload) or from_native(payload) for payload in payloads):
            raise Refused(Refusal.UNDECODABLE, "a payload to download is not ours")
        items = self._look_at(payloads, keep_references=False)
        _raise_first_error(items)

        async def carry_out(until: float) -> list[Payload | Unopened]:
            done = await self._open(items, reach, until)
            _raise_first_error(done)
            return done

        return Plan(_size(items), carry_out)

    def encode(self, payloads: Sequence[Payload], namespace: str) -> Plan:
        """Plan to encode all payloads, in the scope of the namespace.

        Args:
            payloads: The payloads as the application's converter wrote them.
            namespace: The namespace to encode for.

        Returns:
            A plan; it raises the errors of :meth:`coatcheck.Chain.encode`.
        """

        async def carry_out(until: float) -> list[Payload | Unopened]:
            async with asyncio.timeout_at(until):
                return list(await self._codec(Reach(namespace)).encode(payloads))

        return Plan(_size(payloads), carry_out)

    def _look_at(
        self, payloads: Sequence[Payload], *, keep_references: bool
    ) -> list[Payload | Unopened | _Sealed]:
        """Return for each payload its answer, or, if it must be decoded, its sealed form and its size."""
        left = self._max_response
        items: list[Payload | Unopened | _Sealed] = []
        for payload in payloads:
            item = self._look_at_one(payload, keep_references=keep_references)
            if isinstance(item, _Sealed):
                if item.size > left:
                    error = LimitExceeded(
                        f"its {item.size} bytes exceed what remains of serve.max_response",
                        "Raise serve.max_response.",
                    )
                    item = Unopened(item.payload.data, error)
                else:
                    left -= item.size
            items.append(item)
        return items

    def _look_at_one(self, payload: Payload, *, keep_references: bool) -> Payload | Unopened | _Sealed:
        try:
            native = from_native(payload)
            sealed = native or payload
            if not _is_ours(sealed):
                self._chain.check_plain("a payload")
                return payload
            if native and keep_references:
                return payload
            if is_reference(sealed.data):
                # Nothing of it is verified yet.
                reference = Reference.from_bytes(sealed.data)
                if keep_references and reference.size > self._download_over:
                    return to_native(reference)
                return _Sealed(sealed, reference.size)
            return _Sealed(sealed, Envelope.from_bytes(sealed.data).header.size)
        except CoatcheckError as error:
            return Unopened(payload.data if _is_ours(payload) else b"", error)

    async def _open(
        self, items: Sequence[Payload | Unopened | _Sealed], reach: Reach, until: float
    ) -> list[Payload | Unopened]:
        codec = self._codec(reach)

        async def open_one(sealed: _Sealed) -> Payload | Unopened:
            try:
                async with asyncio.timeout_at(until):
                    [opened] = await codec.decode([sealed.payload])
            except TimeoutError:
                error = StoreUnavailable("decoding took longer than serve.timeout", "Raise serve.timeout.")
                return Unopened(sealed.payload.data, error)
            except Exception as error:  # noqa: BLE001 - any error concerns this payload alone
                return Unopened(sealed.payload.data, error, reach.withheld)
            return opened

        opened = iter(await all_at_once(open_one(item) for item in items if isinstance(item, _Sealed)))
        return [next(opened) if isinstance(item, _Sealed) else item for item in items]

    def _codec(self, reach: Reach) -> ClaimCheckCodec:
        return ClaimCheckCodec(self._chain, Scope(reach.namespace), nexus_namespaces=reach.nexus)


def _is_ours(payload: Payload) -> bool:
    return payload.metadata.get("encoding") == ENCODING


def _size(items: Sequence[Payload | Unopened | _Sealed]) -> int:
    return _EACH * len(items) + sum(_size_of(item) for item in items)


def _size_of(item: Payload | Unopened | _Sealed) -> int:
    match item:
        case _Sealed():
            return item.size
        case Payload():
            return item.ByteSize()
        case _:
            return 0


def _raise_first_error(items: Sequence[Payload | Unopened | _Sealed]) -> None:
    for item in items:
        if isinstance(item, Unopened):
            if isinstance(item.error, CoatcheckError):
                raise refusal_of(item.error, item.key_id) from item.error
            raise item.error
