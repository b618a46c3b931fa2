"""Answers as they are sent."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Final

from starlette.responses import Response, StreamingResponse

from coatcheck.server.messages import AnswerBody
from coatcheck.server.refusals import Answer

_SAFE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_JSON: Final = "application/json"


def json_response(status: int, body: bytes) -> Response:
    """A short answer."""
    return Response(body, status, headers=_SAFE, media_type=_JSON)


def text_response(body: bytes, content_type: str) -> Response:
    """A short answer of another kind."""
    return Response(body, headers={**_SAFE, "Content-Type": content_type})


def payloads_response(body: AnswerBody, taken: Callable[[int], None]) -> Response:
    """The payloads that were asked for; it is through when its caller has taken all but what a transport holds.

    Args:
        body: Closed by whoever made it.
        taken: Called with the bytes of payloads that the caller has taken in the meantime.
    """
    headers = {**_SAFE, "Content-Length": str(body.size)}
    return StreamingResponse(_parts(body, taken), headers=headers, media_type=_JSON)


def refusal_response(answer: Answer, request_id: str) -> Response:
    """The status, its sentence, and the number under which the log has the reason."""
    body = {"message": answer.sentence, "requestId": request_id}
    response = json_response(answer.status, json.dumps(body).encode())
    if answer is Answer.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def _parts(body: AnswerBody, taken: Callable[[int], None]) -> AsyncIterator[bytes]:
    before = 0
    for part in body.parts():
        # A part is sent when those before it were taken; the last one of all is empty.
        yield part
        taken(before)
        before = len(part) * 3 // 4
        # A caller that takes everything at once must not have the loop for itself.
        await asyncio.sleep(0)
