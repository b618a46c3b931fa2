"""The application: what is asked, by whom, and what is answered."""

import asyncio
import json
import logging
import re
import secrets
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from coatcheck.chain import Chain
from coatcheck.errors import CoatcheckError
from coatcheck.extras import brought_by
from coatcheck.server.settings import ServeSettings

with brought_by("serve"):
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.cors import CORSMiddleware
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from temporalio.api.common.v1 import Payload

    from coatcheck.server.messages import read_payloads, write_payloads
    from coatcheck.server.metrics import CONTENT_TYPE, Metrics
    from coatcheck.server.openapi import NAMESPACE, actions, describe
    from coatcheck.server.payloads import PayloadDesk
    from coatcheck.server.refusals import Answer, Refused, refusal_of
    from coatcheck.server.tokens import ANYBODY, Caller, TokenVerifier

_log = logging.getLogger("coatcheck.server")

_HEADERS: Final = ("authorization", "authorization-extras", "content-type", "x-namespace")
"""What the web UI sends (temporalio/ui, src/lib/services/data-encoder.ts)."""
_SAFE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_NAMESPACE: Final = re.compile(NAMESPACE)


def create_app(chain: Chain, settings: ServeSettings) -> Starlette:
    """The codec server as an ASGI application, for one event loop. It closes the chain when it is shut down.

    Without ``settings.jwt`` it answers everybody: whoever serves it has to see to it that only those who may read
    every payload can reach it.

    Args:
        chain: Every payload's path.
        settings: What is served; ``host`` and ``port`` are for whoever serves it.
    """
    server = _CodecServer(chain, settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with chain:
            yield

    routes = [
        *(
            Route(path, server.endpoint(action), methods=["POST"])
            for action in actions(settings)
            for path in (f"/{action}", f"/{{namespace}}/{action}")
        ),
        Route("/health", _health),
        Route("/metrics", server.show_metrics),
        Route("/openapi.json", server.show_description),
    ]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.origins,
        allow_methods=("GET", "POST", "OPTIONS"),
        allow_headers=_HEADERS,
        allow_credentials=True,
        expose_headers=("X-Request-Id",),
    )
    return Starlette(
        routes=routes,
        middleware=[cors],
        exception_handlers={HTTPException: _not_routed},
        lifespan=lifespan,
    )


class _CodecServer:
    def __init__(self, chain: Chain, settings: ServeSettings) -> None:
        self._settings = settings
        self._desk = PayloadDesk(
            chain, download_over=settings.download_over, max_response=settings.max_response
        )
        self._verifier = TokenVerifier(settings.jwt) if settings.jwt else None
        self._places = asyncio.Semaphore(settings.concurrency)
        self._metrics = Metrics()
        self._description = json.dumps(describe(settings)).encode()

    def endpoint(self, action: str) -> Callable[[Request], Awaitable[Response]]:
        """What answers requests for ``action``; never raises."""

        async def answer(request: Request) -> Response:
            started = time.perf_counter()
            exchange = _Exchange(action)
            with self._metrics.in_progress.track_inprogress():
                response = await self._answer(exchange, request)
            response.headers["X-Request-Id"] = exchange.request_id
            seconds = time.perf_counter() - started
            self._metrics.requests.labels(action, str(response.status_code)).inc()
            self._metrics.seconds.labels(action).observe(seconds)
            self._metrics.payloads.labels(action).inc(exchange.payloads)
            self._metrics.response_bytes.labels(action).inc(len(response.body))
            exchange.log(response, seconds)
            return response

        return answer

    async def show_metrics(self, _: Request) -> Response:
        return Response(self._metrics.to_text(), headers={**_SAFE, "Content-Type": CONTENT_TYPE})

    async def show_description(self, _: Request) -> Response:
        return _json(200, self._description)

    async def _answer(self, exchange: "_Exchange", request: Request) -> Response:
        try:
            return _json(200, await self._do(exchange, request))
        except Refused as refused:
            return exchange.refuse(refused)
        except CoatcheckError as error:
            return exchange.refuse(refusal_of(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, its message is not for the caller, nor for the log
            where = "".join(traceback.format_tb(error.__traceback__))
            _log.error("request %s failed: %s\n%s", exchange.request_id, type(error).__name__, where)
            return exchange.refuse(Refused(Answer.FAILED, type(error).__name__))

    async def _do(self, exchange: "_Exchange", request: Request) -> bytes:
        # Browsers name the page that asks with every POST. A page that is not listed must neither read answers, which
        # CORS sees to, nor cause anything, nor get in by having its own name point here.
        origin = request.headers.get("origin")
        if origin is not None and origin not in self._settings.origins:
            raise Refused(Answer.FORBIDDEN, "the page that asks is not of a listed origin")
        caller = await self._caller(request)
        exchange.subject = caller.subject
        exchange.namespace = namespace = _namespace(request)
        if not caller.may(namespace, write=exchange.action == "encode"):
            raise Refused(Answer.FORBIDDEN, "the token gives no such right in this namespace")
        step = Answer.UNAVAILABLE
        try:
            async with asyncio.timeout(self._settings.timeout), self._places:
                step = Answer.TIMED_OUT
                payloads = await read_payloads(request, self._settings.max_request)
                step = Answer.UNAVAILABLE
                done = await self._work(exchange.action, payloads, namespace, request)
                exchange.payloads = len(done)
                return await write_payloads(done)
        except TimeoutError:
            raise Refused(step, "it took longer than the time-out") from None

    async def _caller(self, request: Request) -> Caller:
        if self._verifier is None:
            return ANYBODY
        return await self._verifier.caller(request.headers.get("authorization"))

    async def _work(
        self, action: str, payloads: list[Payload], namespace: str, request: Request
    ) -> list[Payload]:
        match action:
            case "encode":
                return await self._desk.encode(payloads, namespace)
            case "download":
                return await self._desk.download(payloads, namespace)
            case _:
                keep = request.query_params.get("preserveStorageRefs", "").lower() == "true"
                return await self._desk.decode(payloads, namespace, keep_references=keep)


class _Exchange:
    """One request and what is known of it, for the answer and for the log."""

    def __init__(self, action: str) -> None:
        self.request_id = secrets.token_hex(8)
        self.action = action
        self.namespace = ""
        self.subject = ""
        self.payloads = 0
        self._reason = ""

    def refuse(self, refused: Refused) -> Response:
        self._reason = refused.reason
        return _refusal(refused.answer, self.request_id)

    def log(self, response: Response, seconds: float) -> None:
        """One line for each request: who asked for what, and what came of it."""
        # repr: what a caller chose must not begin a line of its own.
        _log.log(
            logging.INFO if response.status_code < 500 else logging.ERROR,  # noqa: PLR2004 - what is the server's fault
            "%s request=%s namespace=%r subject=%r status=%d payloads=%d bytes=%d ms=%.1f%s",
            self.action,
            self.request_id,
            self.namespace,
            self.subject,
            response.status_code,
            self.payloads,
            len(response.body),
            seconds * 1000,
            f" reason={self._reason!r}" if self._reason else "",
        )


def _namespace(request: Request) -> str:
    """The one that the path and the header ``X-Namespace`` name, in as far as they name one."""
    named = {*request.headers.getlist("x-namespace")}
    if "namespace" in request.path_params:
        named.add(request.path_params["namespace"])
    if len(named) != 1:
        raise Refused(Answer.BAD_REQUEST, "no namespace, or more than one")
    namespace = named.pop()
    if not _NAMESPACE.fullmatch(namespace):
        raise Refused(Answer.BAD_REQUEST, "this is not the name of a namespace")
    return namespace


async def _health(_: Request) -> Response:
    return _json(200, b'{"status": "ok"}')


async def _not_routed(_: Request, error: Exception) -> Response:
    """What Starlette itself refuses: paths and methods that are not there."""
    assert isinstance(error, HTTPException)
    answer = (
        Answer.METHOD_NOT_ALLOWED
        if error.status_code == Answer.METHOD_NOT_ALLOWED.status
        else Answer.NOT_FOUND
    )
    response = _refusal(answer, secrets.token_hex(8))
    response.headers.update(error.headers or {})
    return response


def _refusal(answer: Answer, request_id: str) -> Response:
    response = _json(
        answer.status, json.dumps({"message": answer.sentence, "requestId": request_id}).encode()
    )
    if answer is Answer.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _json(status: int, body: bytes) -> Response:
    return Response(body, status, headers=_SAFE, media_type="application/json")
