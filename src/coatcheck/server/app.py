"""The codec server as an ASGI application."""

import asyncio
import json
import logging
import re
import secrets
import time
import traceback
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from coatcheck.chain import Chain
from coatcheck.errors import CoatcheckError
from coatcheck.runtime.extras import require_extra
from coatcheck.settings.serve import ServeSettings

with require_extra("serve"):
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.cors import CORSMiddleware
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import Receive, Scope, Send
    from temporalio.api.common.v1 import Payload

    from coatcheck.server.in_flight import Room
    from coatcheck.server.messages import read_payloads, write_payloads
    from coatcheck.server.metrics import CONTENT_TYPE, Metrics
    from coatcheck.server.openapi import NAMESPACE, describe
    from coatcheck.server.origins import OriginGuard
    from coatcheck.server.payloads import PayloadDesk, Plan, Reach
    from coatcheck.server.placeholders import Unopened
    from coatcheck.server.refusals import Refusal, Refused, refusal_of
    from coatcheck.server.responses import json_response, payloads_response, refusal_response, text_response
    from coatcheck.server.tokens import ANYBODY, Caller, TokenVerifier
    from coatcheck.settings.serve import REQUESTS

_log = logging.getLogger("coatcheck.server")

_HEADERS: Final = ("authorization", "authorization-extras", "content-type", "x-namespace")
"""Headers that the web UI sends (temporalio/ui, src/lib/services/data-encoder.ts)."""
_ACTIONS: Final = ("decode", "download", "encode")
_LOGGED: Final = 10
"""Most payloads of one request that are logged one by one if they cannot be decoded."""
_NAMESPACE: Final = re.compile(NAMESPACE)


def create_app(chain: Chain, settings: ServeSettings, *, nexus_namespaces: Collection[str] = ()) -> Starlette:
    """Build the codec server as an ASGI application, for one event loop. It closes the chain at shutdown.

    Without ``settings.jwt`` it answers everybody: the caller must ensure that it can be reached only by people who may
    read every payload. It bounds its own memory, but does not drop silent or slow callers: that is for the code that
    serves it, as :mod:`~coatcheck.server.listening` does.

    Args:
        chain: The chain that decodes and encodes payloads.
        settings: The server's settings; ``host`` and ``port`` are not used here.
        nexus_namespaces: Namespaces at the other end of Nexus operations. Their payloads are opened in other namespaces'
            histories, for callers who may read both.
    """
    server = _CodecServer(chain, settings, nexus_namespaces)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with chain:
            yield

    routes = [
        *(
            Route(path, _Endpoint(server, action), methods=["POST"])
            for action in _ACTIONS
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
    guard = Middleware(OriginGuard, origins=settings.origins, refused=server.count_refused_origin)
    return Starlette(
        routes=routes,
        middleware=[guard, cors],
        exception_handlers={HTTPException: _not_routed},
        lifespan=lifespan,
    )


class _CodecServer:
    def __init__(self, chain: Chain, settings: ServeSettings, nexus_namespaces: Collection[str]) -> None:
        self._settings = settings
        self._nexus_namespaces = tuple(nexus_namespaces)
        self._desk = PayloadDesk(
            chain, download_over=settings.download_over, max_response=settings.max_response
        )
        self._verifier = TokenVerifier(settings.jwt) if settings.jwt else None
        self._bodies = Room(settings.concurrency * settings.max_request)
        self._payloads = Room(settings.max_in_flight)
        self._places = asyncio.Semaphore(settings.concurrency)
        self._under_way = 0
        self._metrics = Metrics(lambda: self._payloads.taken)
        self._description = json.dumps(describe(settings)).encode()

    async def answer(self, exchange: "_Exchange", scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; never raises. Its memory is released when the caller has read the answer."""
        self._under_way += 1
        try:
            async with AsyncExitStack() as resources:
                response = await self._respond(exchange, Request(scope, receive), resources)
                await response(scope, receive, send)
        finally:
            self._under_way -= 1

    def count_refused_origin(self) -> None:
        self._metrics.refused_origins.inc()

    async def _respond(self, exchange: "_Exchange", request: Request, resources: AsyncExitStack) -> Response:
        started = time.perf_counter()
        with self._metrics.in_progress.track_inprogress():
            response = await self._response(exchange, request, resources)
        response.headers["X-Request-Id"] = exchange.request_id
        seconds = time.perf_counter() - started
        action, size = exchange.action, int(response.headers["Content-Length"])
        self._metrics.requests.labels(action, str(response.status_code)).inc()
        self._metrics.seconds.labels(action).observe(seconds)
        self._metrics.payloads.labels(action).inc(exchange.payloads)
        self._metrics.response_bytes.labels(action).inc(size)
        exchange.log(response.status_code, size, seconds)
        return response

    async def show_metrics(self, _: Request) -> Response:
        return text_response(self._metrics.to_text(), CONTENT_TYPE)

    async def show_description(self, _: Request) -> Response:
        return json_response(200, self._description)

    async def _response(self, exchange: "_Exchange", request: Request, resources: AsyncExitStack) -> Response:
        try:
            return await self._do(exchange, request, resources)
        except Refused as refused:
            return exchange.refuse(refused)
        except CoatcheckError as error:
            return exchange.refuse(refusal_of(error))
        except Exception as error:  # noqa: BLE001 - a foreign message must reach neither the caller nor the log
            _log_failure(exchange.request_id, error)
            return exchange.refuse(Refused(Refusal.FAILED, type(error).__name__))

    async def _do(self, exchange: "_Exchange", request: Request, resources: AsyncExitStack) -> Response:
        if self._under_way > REQUESTS:
            raise Refused(Refusal.UNAVAILABLE, "too many requests at once")
        caller = await self._caller(request)
        exchange.subject = caller.subject
        exchange.namespace = namespace = _namespace(request)
        if not caller.may(namespace, write=exchange.action == "encode"):
            raise Refused(Refusal.FORBIDDEN, "the token does not permit this action in this namespace")
        if exchange.action == "encode" and not self._settings.encode:
            raise Refused(Refusal.ENCODE_OFF, "serve.encode is off")
        until = asyncio.get_running_loop().time() + self._settings.timeout
        step = Refusal.TIMED_OUT
        try:
            with self._bodies.growing() as take:
                async with asyncio.timeout_at(until) as waiting:
                    payloads = await read_payloads(request, self._settings.max_request, take)
                    step = Refusal.UNAVAILABLE
                    plan = self._plan(exchange.action, payloads, self._reach(caller, namespace), request)
                    taken = await resources.enter_async_context(self._payloads.hold(plan.size))
                    async with self._places:
                        if await request.is_disconnected():
                            raise Refused(Refusal.BAD_REQUEST, "the caller disconnected")
                        # From here on the remaining time applies to each payload.
                        waiting.reschedule(None)
                        done = await plan.carry_out(until)
                body = await write_payloads(self._with_placeholders(exchange, done))
                resources.callback(body.close)
                return payloads_response(body, taken)
        except TimeoutError:
            raise Refused(step, "the time-out has expired") from None

    async def _caller(self, request: Request) -> Caller:
        if self._verifier is None:
            return ANYBODY
        return await self._verifier.caller(request.headers.get("authorization"))

    def _reach(self, caller: Caller, namespace: str) -> Reach:
        others = [other for other in self._nexus_namespaces if other != namespace]
        readable = {other: caller.may(other, write=False) for other in others}
        return Reach(
            namespace,
            nexus=tuple(other for other in others if readable[other]),
            withheld=tuple(other for other in others if not readable[other]),
        )

    def _plan(self, action: str, payloads: list[Payload], reach: Reach, request: Request) -> Plan:
        match action:
            case "encode":
                return self._desk.encode(payloads, reach.namespace)
            case "download":
                return self._desk.download(payloads, reach)
            case _:
                keep = request.query_params.get("preserveStorageRefs", "").lower() == "true"
                return self._desk.decode(payloads, reach, keep_references=keep)

    def _with_placeholders(self, exchange: "_Exchange", done: Sequence[Payload | Unopened]) -> list[Payload]:
        exchange.payloads = len(done)
        answers = []
        for item in done:
            if isinstance(item, Unopened):
                exchange.note(item)
                self._metrics.placeholders.labels(item.kind).inc()
                answers.append(item.placeholder(exchange.request_id))
            else:
                answers.append(item)
        return answers


class _Endpoint:
    """One action as an ASGI endpoint."""

    def __init__(self, server: _CodecServer, action: str) -> None:
        self._server = server
        self._action = action

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._server.answer(_Exchange(self._action), scope, receive, send)


class _Exchange:
    """Facts about one request, for the answer and the log."""

    def __init__(self, action: str) -> None:
        self.request_id = secrets.token_hex(8)
        self.action = action
        self.namespace = ""
        self.subject = ""
        self.payloads = 0
        self._unopened = 0
        self._reason = ""

    def refuse(self, refused: Refused) -> Response:
        self._reason = refused.reason
        return refusal_response(refused, self.request_id)

    def note(self, unopened: Unopened) -> None:
        """Count a payload that cannot be decoded; log the first few."""
        self._unopened += 1
        if self._unopened > _LOGGED:
            return
        _log.warning("request=%s a payload cannot be decoded: %s", self.request_id, unopened.reason)
        if not isinstance(unopened.error, CoatcheckError):
            _log_failure(self.request_id, unopened.error)

    def log(self, status: int, size: int, seconds: float) -> None:
        """Log one line for the request: the caller, the action and the result."""
        # repr: text chosen by a caller must not start a new line.
        _log.log(
            logging.INFO if status < 500 else logging.ERROR,  # noqa: PLR2004 - faults of the server
            "%s request=%s namespace=%r subject=%r status=%d payloads=%d bytes=%d ms=%.1f%s%s",
            self.action,
            self.request_id,
            self.namespace,
            self.subject,
            status,
            self.payloads,
            size,
            seconds * 1000,
            f" placeholders={self._unopened}" if self._unopened else "",
            f" reason={self._reason!r}" if self._reason else "",
        )


def _log_failure(request_id: str, error: Exception) -> None:
    """Log the traceback without the error's message, which may quote anything."""
    where = "".join(traceback.format_tb(error.__traceback__))
    _log.error("request %s failed: %s\n%s", request_id, type(error).__name__, where)


def _namespace(request: Request) -> str:
    """Return the namespace in the path and the header ``X-Namespace``; if both have one, they must agree."""
    named = {*request.headers.getlist("x-namespace")}
    if "namespace" in request.path_params:
        named.add(request.path_params["namespace"])
    if len(named) != 1:
        raise Refused(Refusal.BAD_REQUEST, "no namespace, or more than one")
    namespace = named.pop()
    if not _NAMESPACE.fullmatch(namespace):
        raise Refused(Refusal.BAD_REQUEST, "malformed namespace")
    return namespace


async def _health(_: Request) -> Response:
    return json_response(200, b'{"status": "ok"}')


async def _not_routed(_: Request, error: Exception) -> Response:
    """Answer requests that Starlette itself refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    refusal = (
        Refusal.METHOD_NOT_ALLOWED
        if error.status_code == Refusal.METHOD_NOT_ALLOWED.status
        else Refusal.NOT_FOUND
    )
    response = refusal_response(Refused(refusal, "not routed"), secrets.token_hex(8))
    response.headers.update(error.headers or {})
    return response
