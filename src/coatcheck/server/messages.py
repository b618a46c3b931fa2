"""The bodies of requests and answers: Temporal's ``Payloads`` as protobuf JSON."""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from google.protobuf import json_format
from starlette.requests import ClientDisconnect, Request
from temporalio.api.common.v1 import Payload, Payloads

from coatcheck.concurrency import DECODE_INLINE_UP_TO, off_loop
from coatcheck.server.refusals import Answer, Refused

BASE64: Final = "(?:[A-Za-z0-9+/_-]{4})*(?:[A-Za-z0-9+/_-]{2}(?:==)?|[A-Za-z0-9+/_-]{3}=?)?"
"""As protobuf JSON takes it: both alphabets, with or without padding."""
SIZE: Final = "0|[1-9][0-9]{0,17}"
"""A size as protobuf JSON writes it, in a text."""
MAX_SIZE: Final = 10**18 - 1
MAX_PAYLOADS: Final = 10_000
"""In one request. The web UI and the command line send those of one event."""
_MAX_PARTS: Final = 16 * MAX_PAYLOADS
"""Objects, lists, members and items of the JSON. A payload has about eight; a body of nothing but brackets would take
a hundred times its size in memory."""

_BASE64 = re.compile(BASE64)
_SIZE = re.compile(SIZE)


async def read_payloads(request: Request, limit: int) -> list[Payload]:
    """The payloads in the request's body.

    Args:
        request: Its body has not been read.
        limit: Bytes of the body, counted as they come.

    Raises:
        Refused: UNSUPPORTED, TOO_LARGE, or BAD_REQUEST for what is not exactly ``Payloads``.
    """
    headers = request.headers
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" or headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(Answer.UNSUPPORTED, "the body is not plain JSON")
    body = await _read(request, limit)
    return await off_loop(len(body), DECODE_INLINE_UP_TO, _parse, body)


async def write_payloads(payloads: Sequence[Payload]) -> bytes:
    """The answer's body."""
    size = sum(payload.ByteSize() for payload in payloads)
    return await off_loop(size, DECODE_INLINE_UP_TO, _format, payloads)


async def _read(request: Request, limit: int) -> bytearray:
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise Refused(Answer.TOO_LARGE, "the body is said to be larger than max_request")
    body = bytearray()
    try:
        async for part in request.stream():
            if len(body) + len(part) > limit:
                raise Refused(Answer.TOO_LARGE, "the body is larger than max_request")
            body += part
    except ClientDisconnect:
        raise Refused(Answer.BAD_REQUEST, "the caller went away") from None
    return body


def _parse(body: bytearray) -> list[Payload]:
    if sum(map(body.count, b"{[,")) > _MAX_PARTS:
        raise Refused(Answer.TOO_LARGE, f"more than {_MAX_PARTS} parts of JSON")
    try:
        message = json.loads(body.decode("utf-8"))
        _check(message)
        return list(json_format.ParseDict(message, Payloads()).payloads)
    except (json_format.Error, RecursionError, ValueError):
        # Not chained: it quotes the body.
        raise Refused(Answer.BAD_REQUEST, "the body is not Payloads in protobuf JSON") from None


def _check(message: Any) -> None:
    """Refuse what protobuf's parser takes although it is wrong, or would take long about."""
    payloads = _object(message).get("payloads")
    if not isinstance(payloads, list):
        return
    if len(payloads) > MAX_PAYLOADS:
        raise Refused(Answer.TOO_LARGE, f"more than {MAX_PAYLOADS} payloads")
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
        raise ValueError("not an object")  # noqa: TRY004 - one kind of error for all that is wrong with a body
    return value


def _format(payloads: Sequence[Payload]) -> bytes:
    return json.dumps({"payloads": [json_format.MessageToDict(payload) for payload in payloads]}).encode()
