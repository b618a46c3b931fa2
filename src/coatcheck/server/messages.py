"""Bodies of requests and answers: Temporal's ``Payloads`` as protobuf JSON."""

import base64
import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from google.protobuf import json_format
from starlette.requests import ClientDisconnect, Request
from temporalio.api.common.v1 import Payload, Payloads

from coatcheck.runtime.concurrency import DECODE_INLINE_UP_TO, off_loop
from coatcheck.server.refusals import Refusal, Refused

BASE64: Final = "(?:[A-Za-z0-9+/_-]{4})*(?:[A-Za-z0-9+/_-]{2}(?:==)?|[A-Za-z0-9+/_-]{3}=?)?"
"""Base64 as protobuf JSON accepts it: both alphabets, with or without padding."""
SIZE: Final = "0|[1-9][0-9]{0,17}"
"""A size as protobuf JSON writes it: a string of digits."""
MAX_SIZE: Final = 10**18 - 1
MAX_PAYLOADS: Final = 10_000
"""Payloads in one request. The web UI and the command line send those of one event."""
_MAX_PARTS: Final = 16 * MAX_PAYLOADS
"""Objects, lists, members and items of the JSON. A payload has about eight; a body of brackets alone would take a hundred
times its size in memory."""

_SLICE: Final = 3 * 128 * 1024
"""Bytes of a payload in one part of an answer; a multiple of three, so that the base64 of the parts can be joined."""
_EACH: Final = 1024
"""Bytes to which the fixed cost of writing a payload corresponds."""

_BASE64 = re.compile(BASE64)
_SIZE = re.compile(SIZE)


async def read_payloads(request: Request, limit: int, take: Callable[[int], bool]) -> list[Payload]:
    """Read the payloads in the request's body.

    Args:
        request: The request, its body not read yet.
        limit: Most bytes of the body, counted as they arrive.
        take: Called with the number of bytes that arrived; returns False if there is no room for them.

    Raises:
        Refused: UNSUPPORTED, TOO_LARGE, BAD_REQUEST if the body is not exactly ``Payloads``, or UNAVAILABLE if there is
            no room.
    """
    headers = request.headers
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" or headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(Refusal.UNSUPPORTED, "the body is not plain JSON")
    body = await _read(request, limit, take)
    return await off_loop(len(body), DECODE_INLINE_UP_TO, _parse, body)


class AnswerBody:
    """The body of an answer, written while it is sent: memory has the unsent payloads, not their text.

    Args:
        payloads: The payloads of the answer; the caller no longer needs them.
    """

    def __init__(self, payloads: Sequence[Payload]) -> None:
        self._payloads = deque(map(_texts, payloads))
        self.size = (
            len(_BEFORE)
            + sum(
                len(head) + sum(map(_base64_size, slices)) + len(tail)
                for head, slices, tail in self._payloads
            )
            + len(_BETWEEN) * max(len(payloads) - 1, 0)
            + len(_AFTER)
        )
        """Bytes of the whole text."""

    def parts(self) -> Iterator[bytes]:
        """Yield the text once, in parts of about half a megabyte. Payloads are released as they are sent."""
        part = bytearray(_BEFORE)
        while self._payloads:
            head, slices, tail = self._payloads.popleft()
            part += head
            while slices:
                part += base64.b64encode(slices.popleft())
                if len(part) >= _SLICE:
                    yield bytes(part)
                    part.clear()
            part += tail
            if self._payloads:
                part += _BETWEEN
        yield bytes(part + _AFTER)

    def close(self) -> None:
        """Release unsent payloads even if something still refers to this object."""
        self._payloads.clear()


async def write_payloads(payloads: Sequence[Payload]) -> AnswerBody:
    """Build the answer's body."""
    size = sum(payload.ByteSize() + _EACH for payload in payloads)
    return await off_loop(size, DECODE_INLINE_UP_TO, AnswerBody, payloads)


_BEFORE, _BETWEEN, _AFTER = b'{"payloads": [', b", ", b"]}"


def _texts(payload: Payload) -> tuple[bytes, deque[bytes], bytes]:
    """Return a payload's JSON up to its data, the data in slices, and the JSON after it."""
    others = Payload(metadata=payload.metadata, external_payloads=payload.external_payloads)
    fields = json.dumps(json_format.MessageToDict(others))
    data = payload.data
    if not data:
        return fields.encode(), deque(), b""
    head = fields[:-1] + ('"data": "' if fields == "{}" else ', "data": "')
    slices = deque(data[at : at + _SLICE] for at in range(0, len(data), _SLICE))
    return head.encode(), slices, b'"}'


def _base64_size(data: bytes) -> int:
    return (len(data) + 2) // 3 * 4


async def _read(request: Request, limit: int, take: Callable[[int], bool]) -> bytearray:
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise Refused(Refusal.TOO_LARGE, "the stated length of the body is above max_request")
    body = bytearray()
    try:
        async for part in request.stream():
            if len(body) + len(part) > limit:
                raise Refused(Refusal.TOO_LARGE, "the body is larger than max_request")
            if not take(len(part)):
                raise Refused(Refusal.UNAVAILABLE, "too many bytes of requests at once")
            body += part
    except ClientDisconnect:
        raise Refused(Refusal.BAD_REQUEST, "the caller disconnected") from None
    return body


def _parse(body: bytearray) -> list[Payload]:
    if sum(map(body.count, b"{[,")) > _MAX_PARTS:
        raise Refused(Refusal.TOO_LARGE, f"more than {_MAX_PARTS} parts of JSON")
    try:
        message = json.loads(body.decode("utf-8"))
        _check(message)
        return list(json_format.ParseDict(message, Payloads()).payloads)
    except (json_format.Error, RecursionError, ValueError):
        # Not chained: the error quotes the body.
        raise Refused(Refusal.BAD_REQUEST, "the body is not Payloads in protobuf JSON") from None


def _check(message: Any) -> None:
    """Refuse input that protobuf's parser wrongly accepts, or parses slowly."""
    payloads = _object(message).get("payloads")
    if not isinstance(payloads, list):
        return
    if len(payloads) > MAX_PAYLOADS:
        raise Refused(Refusal.TOO_LARGE, f"more than {MAX_PAYLOADS} payloads")
    for payload in map(_object, payloads):
        metadata, external = payload.get("metadata"), payload.get("externalPayloads")
        texts = [payload.get("data"), *(metadata.values() if isinstance(metadata, dict) else ())]
        if not all(_BASE64.fullmatch(text) for text in texts if isinstance(text, str)):
            raise ValueError("not base64")
        for item in external if isinstance(external, list) else ():
            size = _object(item).get("sizeBytes")
            if isinstance(size, str) and not _SIZE.fullmatch(size):
                raise ValueError("not a size")
            if isinstance(size, int | float) and not 0 <= size <= MAX_SIZE:
                raise ValueError("not a size")


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one kind of error for all faults of a body
    return value
