"""HTTP responses of the server."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Final

from starlette.responses import Response, StreamingResponse

from coatcheck.server.messages import AnswerBody
from coatcheck.server.refusals import Refusal, Refused

_SAFE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_JSON: Final = "application/json"


def json_response(status: int, body: bytes) -> Response:
    """Build a short JSON response."""
    return Response(body, status, headers=_SAFE, media_type=_JSON)


def text_response(body: bytes, content_type: str) -> Response:
    """Build a short response of another type."""
    return Response(body, headers={**_SAFE, "Content-Type": content_type})


def payloads_response(body: AnswerBody, taken: Callable[[int], None]) -> Response:
    """Build the response with the requested payloads. It completes once the caller has read all but the transport's buffer.

    Args:
        body: The body; its creator closes it.
        taken: Called with the number of payload bytes that the caller has read meanwhile.
    """
    headers = {**_SAFE, "Content-Length": str(body.size)}
    return StreamingResponse(_parts(body, taken), headers=headers, media_type=_JSON)


def refusal_response(refused: Refused, request_id: str) -> Response:
    """Build a response with the status, its sentence, the key that it is about, and the request's number in the log."""
    body = {"message": refused.refusal.sentence, "requestId": request_id}
    if refused.key:
        body["key"] = refused.key
    response = json_response(refused.refusal.status, json.dumps(body).encode())
    if refused.refusal is Refusal.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    if refused.refusal is Refusal.UNAVAILABLE:
        response.headers["Retry-After"] = str(refused.retry_after)
    return response


async def _parts(body: AnswerBody, taken: Callable[[int], None]) -> AsyncIterator[bytes]:
    before = 0
    for part in body.parts():
        # A part is sent once the caller has read those before it; the last part is empty.
        yield part
        taken(before)
        before = len(part) * 3 // 4
        # A fast caller must not keep the loop from other callers.
        await asyncio.sleep(0)
