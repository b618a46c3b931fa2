"""Functions that are served over HTTP, and what went over the wire for them."""

import asyncio
import json
import threading
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import flask
import httpx
import inngest
from fastapi import FastAPI
from werkzeug.serving import make_server

from tests.engines.inngest import InngestServer, serving_asgi

with warnings.catch_warnings():
    # The SDK's own models, in the way of an older pydantic.
    warnings.simplefilter("ignore", DeprecationWarning)
    import inngest.fast_api
    import inngest.flask

Framework = Literal["fastapi", "flask"]


@dataclass
class Wire:
    """Bodies of the requests to an app, and of its answers, in their order."""

    requests: list[bytes] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)

    def of(self, run: str) -> list[dict[str, Any]]:
        """The requests for one run."""
        return [body for request in self.requests if (body := json.loads(request))["ctx"]["run_id"] == run]

    @property
    def everything(self) -> bytes:
        return b"\n".join((*self.requests, *self.answers))

    def around_asgi(self, app: Any) -> Any:
        async def recorded(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http" or scope["method"] != "POST":
                await app(scope, receive, send)
                return
            body = bytearray()
            more = True
            while more:
                part = await receive()
                body += part.get("body", b"")
                more = part.get("more_body", False)
            self.requests.append(bytes(body))
            messages = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

            async def replay() -> Any:
                return next(messages, None) or await receive()

            answer = bytearray()

            async def sending(message: Any) -> None:
                answer.extend(message.get("body", b""))
                await send(message)

            await app(scope, replay, sending)
            self.answers.append(bytes(answer))

        return recorded

    def around_flask(self, app: flask.Flask) -> None:
        @app.after_request
        def record(answer: flask.Response) -> flask.Response:
            if flask.request.method == "POST":
                self.requests.append(flask.request.get_data())
                self.answers.append(answer.get_data())
            return answer


@dataclass(frozen=True)
class App:
    """An app that an Inngest server knows. Its events have names that no other app has."""

    server: InngestServer
    client: inngest.Inngest
    name: str
    wire: Wire = field(default_factory=Wire)

    def event(self, kind: str) -> str:
        return f"{self.name}/{kind}"

    def on(self, kind: str) -> inngest.TriggerEvent:
        return inngest.TriggerEvent(event=self.event(kind))

    async def send(self, kind: str, **data: Any) -> str:
        """Send an event through the client, and say its ID."""
        [sent] = await self.client.send(inngest.Event(name=self.event(kind), data=data))
        return sent

    async def run(self, kind: str, **data: Any) -> dict[str, Any]:
        """The run that an event triggers, when it has ended."""
        [run] = await self.server.runs_of(await self.send(kind, **data))
        return run


def new_app(server: InngestServer, *middleware: Any, name: str = "") -> App:
    name = name or f"app-{uuid.uuid4().hex[:12]}"
    client = inngest.Inngest(
        app_id=name,
        is_production=False,
        api_base_url=server.url,
        event_api_base_url=server.url,
        middleware=list(middleware),
    )
    return App(server, client, name)


@asynccontextmanager
async def served(
    app: App, functions: Sequence[inngest.Function[Any]], framework: Framework = "fastapi"
) -> AsyncIterator[None]:
    """Serve the functions, and have the server know them."""
    serve = _serve_fastapi if framework == "fastapi" else _serve_flask
    async with closing(app):
        with serve(app, list(functions)) as port:
            await register(port)
            yield


@asynccontextmanager
async def closing(app: App) -> AsyncIterator[None]:
    """Close what the SDK leaves open."""
    try:
        yield
    finally:
        connections = app.client._http_client
        await connections._http_client.aclose()
        connections._http_client_sync.close()


async def register(port: int) -> None:
    async with httpx.AsyncClient(timeout=30) as http:
        (await http.put(f"http://127.0.0.1:{port}/api/inngest")).raise_for_status()


@contextmanager
def _serve_fastapi(app: App, functions: list[inngest.Function[Any]]) -> Iterator[int]:
    with serving_asgi(app.wire.around_asgi(fast_api_of(app, functions))) as port:
        yield port


def fast_api_of(app: App, functions: list[inngest.Function[Any]]) -> FastAPI:
    fast_api = FastAPI()
    inngest.fast_api.serve(fast_api, app.client, functions)
    return fast_api


@contextmanager
def _serve_flask(app: App, functions: list[inngest.Function[Any]]) -> Iterator[int]:
    wsgi = flask.Flask(app.name)
    app.wire.around_flask(wsgi)
    inngest.flask.serve(wsgi, app.client, functions)
    server = make_server("127.0.0.1", 0, wsgi, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread or the server does; a minute at most."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the other thread knows no event of this loop
            await asyncio.sleep(0.02)


@cache
def text(size: int, seed: str = "") -> str:
    """Printable and different for each seed; compresses to about a tenth."""
    word = uuid.uuid5(uuid.NAMESPACE_OID, seed).hex
    return "".join(f"{word[n % 32 :]}{n:x} " for n in range(size // 18 + 1))[:size]
