"""The durability gate: no reference leaves the process before its object is durable."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from restate.exceptions import SdkInternalBaseException, SdkInternalException
from restate.server_types import header_to_binary
from restate.vm import VMWrapper

from coatcheck.errors import CoatcheckError
from coatcheck.integrations.restate.protocol import MOST_INLINE, error_message, substitute
from coatcheck.pipeline.upload import Upload

Message = dict[str, Any]
"""An ASGI event."""
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

_PAUSE: Final = 1.0
"""Seconds between two tries to store a payload too large for the journal; each has retries and a deadline of its own."""

_log = logging.getLogger("coatcheck")

_current: ContextVar["DurabilityGate"] = ContextVar("coatcheck_restate_gate")


def behind_gate(app: App) -> App:
    """Return the same ASGI app, with a gate of its own for each attempt at an invocation."""

    async def wrapped(
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        headers = [(name.decode(), value.decode()) for name, value in scope["headers"]]
        gate = DurabilityGate(receive, send, headers)
        token = _current.set(gate)
        try:
            await app(scope, gate.receive, gate.send)
        except SdkInternalBaseException:
            if not gate.failed:
                raise
            await gate.finish()
        finally:
            _current.reset(token)
            await gate.close()

    return wrapped


def current_gate() -> "DurabilityGate | None":
    """Gate of the attempt that the caller is part of; None outside of attempts."""
    return _current.get(None)


class DurabilityGate:
    """Gate of one attempt at an invocation. For the event loop that the attempt runs on.

    Messages of the SDK are held back, in order, until every object that was begun before is durable. If the store does
    not accept one, the payload itself replaces the reference; if it is too large for that, everything waits for the
    store for as long as the server waits for the attempt.

    Args:
        receive: ASGI's ``receive``.
        send: ASGI's ``send``.
        headers: Headers of the request.
    """

    def __init__(
        self,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        headers: list[tuple[str, str]],
    ) -> None:
        self.failed = False
        """True if the attempt was given up. Nothing of it is sent any more."""
        self._receive = receive
        self._send = send
        self._headers = headers
        self._uploads: dict[bytes, _UnderWay] = {}
        self._deliveries: set[asyncio.Task[None]] = set()
        self._last: asyncio.Task[None] | None = None
        self._input_open = True

    def begin(self, upload: Upload) -> bytes:
        """Begin to store a payload, and return its reference."""
        if not upload.is_durable and upload.reference not in self._uploads:
            under_way = _UnderWay(upload, asyncio.create_task(_store(upload)))
            self._uploads[upload.reference] = under_way
            under_way.task.add_done_callback(lambda _: self._settled(under_way))
        return upload.reference

    def being_written(self, reference: bytes) -> bytes | None:
        """Return the payload of a reference that this attempt made, while its object is not yet durable."""
        found = self._uploads.get(reference)
        return None if found is None else found.upload.payload

    async def receive(self) -> Message:
        """Receive as ASGI does."""
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._input_open = False
        if message["type"] == "http.disconnect":
            self._give_up()
        return message

    async def send(self, message: Message) -> None:
        """Send as ASGI does; returns when the message is on its way.

        Raises:
            SdkInternalException: The attempt was given up. The SDK takes it as it takes a lost connection.
        """
        delivery = asyncio.create_task(self._deliver(message, tuple(self._uploads.values()), self._last))
        self._last = delivery
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._delivered)
        # Who waits may be cancelled; what was taken from the SDK must be sent all the same, or the stream has a gap.
        await asyncio.shield(delivery)

    async def refuse(self, error: CoatcheckError) -> None:
        """End the attempt before it begins: the server is told why, and makes another one."""
        status, headers = VMWrapper(self._headers).get_response_head()
        await self._send(
            {"type": "http.response.start", "status": status, "headers": header_to_binary(headers)}
        )
        await self.fail(error)
        await self.finish()

    async def settled(self) -> None:
        """Wait until every message of the SDK is on its way."""
        if self._last is not None:
            await asyncio.wait({self._last})

    async def fail(self, error: BaseException) -> None:
        """Give the attempt up: the server is told why, and makes another one."""
        if not self.failed:
            self._give_up()
            text = f"{type(error).__name__}: {error}"
            await self._send(_body(error_message(self._headers, text), more=True))

    async def finish(self) -> None:
        """End an attempt that was given up. The server is the first to close its side, as the SDK has it."""
        while self._input_open:
            await self.receive()
        await self._send(_body(b"", more=False))

    async def close(self) -> None:
        """Cancel pending work: the attempt is over."""
        tasks = [*self._deliveries, *(upload.task for upload in self._uploads.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _deliver(
        self, message: Message, uploads: Iterable["_UnderWay"], before: asyncio.Task[None] | None
    ) -> None:
        if before is not None and not before.done():
            await asyncio.wait({before})
        inline: dict[bytes, bytes] = {}
        for upload in uploads:
            await asyncio.wait({upload.task})
            if upload.task.cancelled():
                self._give_up()
                break
            error = upload.task.exception()
            if error is not None:
                await self.fail(error)
                break
            envelope = upload.task.result()
            if envelope is not None:
                inline[upload.upload.reference] = envelope
        if message.get("body"):
            if self.failed:
                raise SdkInternalException
            if inline:
                message = {**message, "body": await self._substituted(message["body"], inline)}
        await self._send(message)

    async def _substituted(self, body: bytes, inline: dict[bytes, bytes]) -> bytes:
        try:
            return substitute(body, inline)
        except CoatcheckError as error:
            await self.fail(error)
            raise SdkInternalException from error

    def _settled(self, upload: "_UnderWay") -> None:
        """Forget objects that are durable; for the others, keep the payload until the attempt is over."""
        task = upload.task
        if not task.cancelled() and task.exception() is None and task.result() is None:
            del self._uploads[upload.upload.reference]

    def _delivered(self, delivery: asyncio.Task[None]) -> None:
        self._deliveries.discard(delivery)
        if not delivery.cancelled():
            delivery.exception()

    def _give_up(self) -> None:
        self.failed = True
        for upload in self._uploads.values():
            upload.task.cancel()


@dataclass(frozen=True, slots=True)
class _UnderWay:
    upload: Upload
    task: asyncio.Task[bytes | None]
    """Result: None when the object is durable; else the envelope to journal in its place."""


async def _store(upload: Upload) -> bytes | None:
    """Store the payload; if that fails, return it sealed, unless it is too large to be journaled.

    Whatever the reason: the step that made it is done, and must not run again.
    """
    while True:
        try:
            await upload.store()
        except CoatcheckError as error:
            sealed = await upload.seal_inline()
            if len(sealed) <= MOST_INLINE:
                _log.warning("A payload is journaled inline, since the store does not accept it: %s", error)
                return sealed
            _log.warning(
                "An attempt waits for the store, since a payload is too large for the journal: %s", error
            )
            await asyncio.sleep(_PAUSE)
        else:
            return None


def _body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
