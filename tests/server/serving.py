"""The codec server on a free port, and how it is asked."""

import base64
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import httpx
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from coatcheck import Chain, Scope
from coatcheck.integrations.temporal import ClaimCheckCodec, Mode
from coatcheck.server.app import create_app
from coatcheck.server.listening import HttpServer, bind, url_of
from coatcheck.settings.serve import ServeSettings

NAMESPACE = "tenant-a"
SCOPE = Scope(NAMESPACE, "order-7")
JSON = {"Content-Type": "application/json"}


class Serving:
    """A running server, as a caller sees it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, path: str, body: Any = b"", headers: Mapping[str, Any] | None = None) -> httpx.Response:
        """``body`` as it is if it is bytes, else as JSON."""
        given = {"X-Namespace": NAMESPACE, **JSON} if headers is None else headers
        content = body if isinstance(body, bytes) else json_bytes(body)
        return httpx.post(self.url + path, content=content, headers=dict(given), timeout=30)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30)

    def decode(self, payloads: Sequence[Payload], path: str = "/decode") -> list[Payload]:
        answer = self.post(path, to_json(payloads))
        assert answer.status_code == 200, answer.text
        return from_json(answer)


@contextmanager
def serving(chain: Chain, *, nexus_namespaces: Collection[str] = (), **settings: Any) -> Iterator[Serving]:
    """Serve over a real socket until the block ends."""
    serve = ServeSettings(**{"port": 0, **settings})
    with bind(serve) as listener:
        started = Event()
        server = HttpServer(create_app(chain, serve, nexus_namespaces=nexus_namespaces), serve, started.set)
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            assert started.wait(20)
            yield Serving(url_of(listener))
        finally:
            server.should_exit = True
            thread.join(20)
    assert not thread.is_alive()


def json_bytes(body: Any) -> bytes:
    return httpx.Request("POST", "http://x", json=body).content


def to_json(payloads: Sequence[Payload]) -> bytes:
    return json_format.MessageToJson(Payloads(payloads=payloads)).encode()


def from_json(answer: httpx.Response) -> list[Payload]:
    return list(json_format.Parse(answer.text, Payloads()).payloads)


def said(placeholder: Payload) -> dict[str, str]:
    """What stands in a placeholder."""
    assert dict(placeholder.metadata) == {"encoding": b"json/plain"}
    read: dict[str, str] = json.loads(placeholder.data)
    assert read["coatcheck"] == "placeholder"
    return read


def plain(data: bytes) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=data)


async def sealed(chain: Chain, *data: bytes, scope: Scope = SCOPE, mode: Mode = "codec") -> list[Payload]:
    """What a worker would write to the history."""
    return await ClaimCheckCodec(chain, scope, mode=mode).encode([plain(item) for item in data])


def base64_text(data: bytes) -> str:
    return base64.b64encode(data).decode()
