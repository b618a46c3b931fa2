"""What is too large, too slow, too much, or not what it says."""

import asyncio
import json
import random
import socket
from collections.abc import Iterator
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from coatcheck import MemoryStore
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.server.messages import MAX_PAYLOADS
from tests.chains import encrypted_chain
from tests.server.serving import (
    JSON,
    NAMESPACE,
    Serving,
    base64_text,
    plain,
    said,
    sealed,
    serving,
    to_json,
)

LIMIT = 4096
HEAD = {**JSON, "X-Namespace": NAMESPACE}


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving(encrypted_chain(), max_request=LIMIT) as running:
        yield running


def body_of(size: int) -> bytes:
    """A good body of exactly ``size`` bytes."""
    body = to_json([plain(b"1")])
    return body + b" " * (size - len(body))


def test_a_body_up_to_the_limit(server: Serving) -> None:
    assert server.post("/decode", body_of(LIMIT)).status_code == 200
    answer = server.post("/decode", body_of(LIMIT + 1))
    assert answer.status_code == 413
    assert set(answer.json()) == {"message", "requestId"}


def test_a_body_that_does_not_say_how_large_it_is(server: Serving) -> None:
    def parts(size: int) -> Iterator[bytes]:
        body = body_of(size)
        yield from (body[at : at + 100] for at in range(0, size, 100))

    for size, status in ((LIMIT, 200), (LIMIT + 1, 413)):
        answer = httpx.post(f"{server.url}/decode", content=parts(size), headers=HEAD, timeout=30)
        assert answer.status_code == status


def raw(server: Serving, head: str, body: bytes) -> bytes:
    """What comes back until the server closes."""
    address = urlsplit(server.url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=60) as connection:
        lines = ["POST /decode HTTP/1.1", "Host: x", "Connection: close", f"X-Namespace: {NAMESPACE}"]
        connection.sendall(
            "\r\n".join([*lines, "Content-Type: application/json", head, "", ""]).encode() + body
        )
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_body_that_lies_about_its_size(server: Serving) -> None:
    body = body_of(200)
    # Refused by what it says alone; nothing was sent.
    assert raw(server, f"Content-Length: {LIMIT + 1}", b"").startswith(b"HTTP/1.1 413 ")
    assert raw(server, f"Content-Length: {10**18}", b"").startswith(b"HTTP/1.1 413 ")
    # Only as much is read as was announced.
    assert raw(server, "Content-Length: 100", body).startswith(b"HTTP/1.1 400 ")
    assert raw(server, "Content-Length: -1", body).startswith(b"HTTP/1.1 400 ")
    assert raw(server, f"Content-Length: 100\r\nContent-Length: {len(body)}", body).startswith(
        b"HTTP/1.1 400 "
    )


def test_a_caller_that_goes_away_or_says_nothing() -> None:
    with serving(encrypted_chain(), max_request=LIMIT, timeout=0.3) as server:
        assert raw(server, "Content-Length: 100", b"{").startswith(b"HTTP/1.1 408 ")
        address = urlsplit(server.url)
        with socket.create_connection((str(address.hostname), int(address.port or 0))) as connection:
            connection.sendall(b"POST /decode HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert server.post("/decode", body_of(100)).status_code == 200


class Watched(MemoryStore):
    """Counts what is asked of it."""

    gets = 0

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        self.gets += 1
        return await super().get(key, limit)


class Held(MemoryStore):
    """Gives nothing back until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let_go = Event(), Event()

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        self.asked.set()
        await asyncio.to_thread(self.let_go.wait, 20)
        return await super().get(key, limit)


async def test_what_takes_too_long_is_given_up() -> None:
    store = Held()
    payloads = await sealed(encrypted_chain(store), random.Random(1).randbytes(5000))
    with serving(encrypted_chain(store), timeout=0.3) as server:
        assert server.post("/decode", to_json(payloads)).status_code == 503
        store.let_go.set()
        assert server.decode(payloads)


async def test_only_so_many_at_once() -> None:
    store = Held()
    payloads = await sealed(encrypted_chain(store), random.Random(1).randbytes(5000))
    answers: list[int] = []

    with serving(encrypted_chain(store), concurrency=1) as server:

        def ask(body: bytes) -> None:
            answers.append(server.post("/decode", body).status_code)

        threads = [Thread(target=ask, args=(body,)) for body in (to_json(payloads), body_of(100))]
        threads[0].start()
        assert store.asked.wait(20)
        threads[1].start()
        # The second one waits for its turn; what needs no place is answered.
        while "coatcheck_codec_requests_in_progress 2.0" not in server.get("/metrics").text:
            assert not answers
        assert not answers
        store.let_go.set()
        for thread in threads:
            thread.join()
    assert answers == [200, 200]


async def test_an_answer_up_to_the_limit() -> None:
    """However often one object is referred to: what is opened for one request is bounded as a whole."""
    store = Watched()
    data = random.Random(2).randbytes(3000)
    (payload,) = await sealed(encrypted_chain(store), data)
    (small,) = await sealed(encrypted_chain(store), b"x" * 3000)
    size = plain(data).ByteSize()
    with serving(encrypted_chain(store), max_response=2 * size) as server:
        assert server.decode([payload] * 2) == [plain(data)] * 2
        for many in ([payload] * 1000, [small] * 1000):
            first, second, *others = server.decode(many)
            assert first == second != others[0]
            assert {said(placeholder)["error"] for placeholder in others} == {"LimitExceeded"}
            assert server.post("/download", to_json(many)).status_code == 413
        # What is not opened is as large as the request that brought it.
        assert server.decode([plain(data)] * 3) == [plain(data)] * 3
        assert server.decode([payload] * 3 + [plain(b"1")])[3] == plain(b"1")
        gets = store.gets
        assert server.post("/download", to_json([payload] * 3)).status_code == 413
        assert store.gets == gets


async def test_one_payload_above_the_limit_hides_no_other() -> None:
    store = MemoryStore()
    large, small = await sealed(encrypted_chain(store), random.Random(2).randbytes(9000), b"small")
    with serving(encrypted_chain(store), max_response=1000) as server:
        placeholder, opened = server.decode([large, small])
    assert said(placeholder)["error"] == "LimitExceeded"
    assert opened == plain(b"small")


def test_many_payloads() -> None:
    with serving(encrypted_chain()) as server:
        assert (
            len(server.post("/decode", {"payloads": [{}] * MAX_PAYLOADS}).json()["payloads"]) == MAX_PAYLOADS
        )
        assert server.post("/decode", {"payloads": [{}] * (MAX_PAYLOADS + 1)}).status_code == 413


def payload(**fields: Any) -> dict[str, Any]:
    return {"payloads": [fields]}


GOOD: list[tuple[Any, Any]] = [
    ({}, []),
    ({"payloads": None}, []),
    (payload(), [{}]),
    (payload(data=None, metadata=None), [{}]),
    (payload(data="-_-_"), [{"data": "+/+/"}]),
    (payload(data="YQ"), [{"data": "YQ=="}]),
    (payload(data="YQ==", metadata={"é": "YQ=="}), [{"metadata": {"é": "YQ=="}, "data": "YQ=="}]),
    (payload(externalPayloads=[{"sizeBytes": "12"}]), [{"externalPayloads": [{"sizeBytes": "12"}]}]),
]
BAD: list[Any] = [
    None,
    5,
    "payloads",
    [],
    [{"data": "YQ=="}],
    {"payload": []},
    {"payloads": {}},
    {"payloads": "YQ=="},
    {"payloads": [None]},
    {"payloads": [[]]},
    {"payloads": [5]},
    {"payloads": [], "more": 1},
    payload(more=1),
    payload(data=5),
    payload(data=True),
    payload(data=["YQ=="]),
    payload(data="Y"),
    payload(data="YQ="),
    payload(data="YQ==="),
    payload(data="Y!=="),
    payload(data="YQ==\n"),
    payload(data="é"),
    payload(data="\ud800"),
    payload(metadata=[]),
    payload(metadata="YQ=="),
    payload(metadata={"encoding": None}),
    payload(metadata={"encoding": 5}),
    payload(metadata={"encoding": "json/plain!"}),
    payload(metadata={"\ud800": "YQ=="}),
    payload(externalPayloads=[{"sizeBytes": 1.5}]),
    payload(externalPayloads=[{"sizeBytes": 2**64}]),
    payload(externalPayloads=[None]),
    payload(externalPayloads=[[]]),
    payload(externalPayloads=""),
    {"payloads": ""},
    {"payloads": False},
]


@pytest.mark.parametrize(("body", "expected"), GOOD)
def test_good_bodies(server: Serving, body: Any, expected: Any) -> None:
    answer = server.post("/decode", json.dumps(body).encode())
    assert (answer.status_code, answer.json()) == (200, {"payloads": expected})


@pytest.mark.parametrize("body", BAD, ids=repr)
def test_bad_bodies(server: Serving, body: Any) -> None:
    assert server.post("/decode", json.dumps(body).encode()).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'\xef\xbb\xbf{"payloads": []}',
        '{"payloads": []}'.encode("utf-16"),
        b'{"payloads": []} {}',
        b"[" * (LIMIT // 2),
        b'{"payloads": ' * 200 + b"[]" + b"}" * 200,
        b'{"payloads": [{"externalPayloads": [{"sizeBytes": ' + b"1" * 3000 + b"}]}]}",
    ],
    ids=[
        "empty",
        "cut off",
        "no text",
        "byte order mark",
        "utf-16",
        "two",
        "deep",
        "deep objects",
        "huge number",
    ],
)
def test_what_is_no_json_or_no_payloads(server: Serving, body: bytes) -> None:
    assert server.post("/decode", body).status_code == 400


def test_deep_nesting_within_a_large_body() -> None:
    with serving(encrypted_chain()) as server:
        for body in (b"[" * 150_000, b'{"payloads":' * 150_000):
            assert server.post("/decode", body).status_code == 400
        # These would fill the memory.
        for body in (b"[" * 2_000_000, b'{"payloads":[' + b"[]," * 500_000 + b"[]]}"):
            assert server.post("/decode", body).status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-protobuf"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
def test_bodies_of_other_kinds(server: Serving, headers: dict[str, str]) -> None:
    given = {"X-Namespace": NAMESPACE, **headers}
    assert server.post("/decode", body_of(100), given).status_code == 415


def test_a_character_set_may_be_named(server: Serving) -> None:
    headers = {"X-Namespace": NAMESPACE, "Content-Type": "Application/JSON; charset=utf-8"}
    answer = server.post("/decode", payload(data=base64_text(b"x")), headers)
    assert answer.status_code == 200
