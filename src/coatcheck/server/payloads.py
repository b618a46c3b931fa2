"""What the server does with payloads, in the terms of the Temporal integration."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple

from temporalio.api.common.v1 import Payload

from coatcheck.chain import Chain
from coatcheck.errors import CoatcheckError, LimitExceeded, StoreUnavailable
from coatcheck.format.envelope import Envelope
from coatcheck.format.reference import Reference
from coatcheck.format.wire import is_reference
from coatcheck.integrations.temporal.codec import ENCODING, ClaimCheckCodec
from coatcheck.integrations.temporal.native import from_native, to_native
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.scope import Scope
from coatcheck.server.placeholders import Unopened
from coatcheck.server.refusals import Answer, Refused

_EACH: Final = 1024
"""Bytes that a payload takes beside its own, at most: its object, its placeholder."""


class Plan(NamedTuple):
    """The work to be done for a request; nothing has been fetched yet."""

    size: int
    """Bytes that the answer's payloads take at most."""
    carry_out: Callable[[float], Coroutine[Any, Any, list[Payload | Unopened]]]
    """Do it, until a point in the loop's time. One for each payload of the request, in its order."""


class Reach(NamedTuple):
    """The namespaces that a request reaches.

    Who may read a namespace may ask for everything in it, so to open a payload of it beside others gives nothing away.
    """

    namespace: str
    """The one that is asked about."""
    nexus: tuple[str, ...] = ()
    """Those at the other end of its Nexus operations where the caller may read, too."""
    withheld: tuple[str, ...] = ()
    """Those where the caller may not."""


class _Sealed(NamedTuple):
    payload: Payload
    size: int
    """Bytes that opening it gives at most: whatever is opened has to have the size that is stated in it."""


class PayloadDesk:
    """Opens payloads of whole namespaces, and seals for them. Safe for use by any number of tasks and event loops.

    Args:
        chain: Every payload's path.
        download_over: Bytes of a payload that is worth a download of its own.
        max_response: Bytes of all the payloads that one request may open.
    """

    def __init__(self, chain: Chain, *, download_over: int, max_response: int) -> None:
        self._chain = chain
        self._download_over = download_over
        self._max_response = max_response

    def decode(self, payloads: Sequence[Payload], reach: Reach, *, keep_references: bool) -> Plan:
        """Plan to open each that is ours; what is not ours is handed on untouched, if the chain takes it.

        One that does not open does not hide the others: it comes back as :class:`Unopened`. So does one that would make
        the opened ones together larger than ``max_response``; it is not fetched.

        Args:
            payloads: As they stand in the history.
            reach: Whose they have to be.
            keep_references: Leave Temporal's own references as they are, and give references of the codec as
                Temporal's own where the payload is large, so that the web UI offers a download.

        Returns:
            A plan that raises StoreUnavailable where the store is down for everything that was to be opened.
        """
        items = self._look_at(payloads, keep_references=keep_references)

        async def carry_out(until: float) -> list[Payload | Unopened]:
            done = await self._open(items, reach, until)
            opened = [after for before, after in zip(items, done, strict=True) if isinstance(before, _Sealed)]
            errors = [after.error if isinstance(after, Unopened) else None for after in opened]
            if errors and all(isinstance(error, StoreUnavailable) for error in errors):
                raise next(filter(None, errors))
            return done

        return Plan(_size(items), carry_out)

    def download(self, payloads: Sequence[Payload], reach: Reach) -> Plan:
        """Plan to open each, all of which have to be ours: what is behind a download in the web UI.

        A download is taken for the payload itself, so there are no placeholders: one that does not open is an error.

        Returns:
            A plan that raises what :meth:`coatcheck.Chain.open` does.

        Raises:
            Refused: One of them is not ours.
            CoatcheckError: One of them has no known form, or together they are larger than ``max_response``.
        """
        if not all(_is_ours(payload) or from_native(payload) for payload in payloads):
            raise Refused(Answer.UNDECODABLE, "there is something to download that is not ours")
        items = self._look_at(payloads, keep_references=False)
        _raise_first_error(items)

        async def carry_out(until: float) -> list[Payload | Unopened]:
            done = await self._open(items, reach, until)
            _raise_first_error(done)
            return done

        return Plan(_size(items), carry_out)

    def encode(self, payloads: Sequence[Payload], namespace: str) -> Plan:
        """Plan to seal each, in the scope of the namespace.

        Returns:
            A plan that raises what :meth:`coatcheck.Chain.encode` does.
        """

        async def carry_out(until: float) -> list[Payload | Unopened]:
            async with asyncio.timeout_at(until):
                return list(await self._codec(Reach(namespace)).encode(payloads))

        return Plan(_size(payloads), carry_out)

    def _look_at(
        self, payloads: Sequence[Payload], *, keep_references: bool
    ) -> list[Payload | Unopened | _Sealed]:
        """Each as it is to be answered, or, where it is to be opened, in the codec's form and with its size."""
        left = self._max_response
        items: list[Payload | Unopened | _Sealed] = []
        for payload in payloads:
            item = self._look_at_one(payload, keep_references=keep_references)
            if isinstance(item, _Sealed):
                if item.size > left:
                    error = LimitExceeded(
                        f"{item.size} bytes are more than serve.max_response leaves for it",
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
                # Nothing of it is verified: it is the caller's own.
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
                error = StoreUnavailable("it took longer than the time-out", "Raise serve.timeout.")
                return Unopened(sealed.payload.data, error)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is about this payload alone
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
            raise item.error
