"""Callers that read nothing or say nothing, before the real server in a process of its own."""

import asyncio
import json
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlsplit

import pytest

from coatcheck import Chain, Encrypt, FileStore, Keyring, Offload, PayloadCache, Zstd
from tests.chains import KEY, encrypted_chain
from tests.server.process import Started, started, variables
from tests.server.serving import NAMESPACE, plain, sealed, serving, to_json

MIB = 2**20
LARGE = plain(b'"%s"' % (b"tides " * (16 * MIB // 6)))
SMALL = plain(b'"%s"' % bytes(range(97, 123)) * 100)
IDLE = 2
"""Seconds that a caller may be silent, or read nothing."""
IN_FLIGHT = 32 * MIB
MEMORY = 450 * MIB
"""Bytes that the process may take, its interpreter, its cache of one large payload, and what two answers need for a
moment included. 48 unread answers alone are 1 GiB."""
HEAD = f"POST /decode HTTP/1.1\r\nHost: x\r\nX-Namespace: {NAMESPACE}\r\nContent-Type: application/json\r\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Started]:
    limits = {
        "COATCHECK_SERVE__IDLE_TIMEOUT": str(IDLE),
        "COATCHECK_SERVE__MAX_IN_FLIGHT": str(IN_FLIGHT),
    }
    with started(variables(tmp_path) | limits, tmp_path) as running:
        yield running
        # What is not read fills its pipe, and what is not ended goes on.
        running.process.kill()


def bodies(folder: Path) -> tuple[bytes, bytes]:
    """Requests for a large payload and for a small one that the server's store has."""
    store = FileStore(folder / "payloads")
    chain = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store, over=64), cache=PayloadCache(0))
    large, small = asyncio.run(sealed(chain, LARGE.data, SMALL.data))
    return to_json([large]), to_json([small])


def connect(server: Started) -> socket.socket:
    """A connection that takes in as little as it can."""
    address = urlsplit(server.server.url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    connection.connect((str(address.hostname), int(address.port or 0)))
    return connection


@contextmanager
def connections(server: Started, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(connect(server)) for _ in range(count)]


def request(body: bytes) -> bytes:
    return f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body


def metric(server: Started, line: str) -> float:
    text = server.server.get("/metrics").text
    return sum(float(value.rpartition(" ")[2]) for value in text.splitlines() if value.startswith(line))


def until(holds: Callable[[], bool], seconds: float) -> None:
    """Wait for it, asking the server for its health in between."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.05)


def ask_for_health(server: Started) -> None:
    began = time.monotonic()
    assert server.server.get("/health").status_code == 200
    assert time.monotonic() - began < 20


def test_answers_that_nobody_reads_take_bounded_memory_and_end(server: Started, tmp_path: Path) -> None:
    large, small = bodies(tmp_path)
    before = server.open_sockets()
    with connections(server, 48) as unread:
        for connection in unread:
            connection.sendall(request(large))
        until(lambda: metric(server, "coatcheck_codec_bytes_in_flight") > IN_FLIGHT / 2, 60)
        # While large answers wait for readers that never come, health is told, and small ones get by.
        for _ in range(10):
            ask_for_health(server)
            assert metric(server, "coatcheck_codec_bytes_in_flight") <= IN_FLIGHT
        assert server.server.post("/decode", small).status_code == 200
        # Some were dropped, and others had their turn: nobody holds a place for ever.
        until(lambda: metric(server, "coatcheck_codec_requests_total") > 8, 60)
    assert server.peak_memory() < MEMORY
    until(lambda: server.open_sockets() <= before + 1, 60)
    until(lambda: metric(server, "coatcheck_codec_bytes_in_flight") == 0, 60)
    answer = server.server.post("/decode", large)
    assert answer.status_code == 200
    assert len(answer.content) > len(LARGE.data)
    assert server.peak_memory() < MEMORY


def test_one_reader_that_stops_is_dropped(server: Started, tmp_path: Path) -> None:
    large, _ = bodies(tmp_path)
    before = server.open_sockets()
    with connect(server) as connection:
        connection.sendall(request(large))
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")
        until(lambda: server.open_sockets() <= before, 60)
        # What was on its way comes, the rest does not.
        assert _rest(connection) < len(LARGE.data)


def test_answers_that_are_small_but_many_are_read_in_time_or_end(server: Started) -> None:
    before = server.open_sockets()
    with connect(server) as connection:
        connection.settimeout(1)
        asked = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100
        with suppress(OSError):
            while True:
                connection.sendall(asked)
        until(lambda: server.open_sockets() <= before, 60)


def test_a_small_answer_that_is_not_read_does_not_keep_its_connection(server: Started) -> None:
    before = server.open_sockets()
    with connect(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: server.open_sockets() > before, 60)
        until(lambda: server.open_sockets() <= before, 60)


def test_a_slow_reader_that_goes_on_gets_everything(server: Started, tmp_path: Path) -> None:
    large, _ = bodies(tmp_path)
    took = 0
    with connect(server) as connection:
        connection.sendall(request(large).replace(b"Host: x", b"Host: x\r\nConnection: close"))
        began = time.monotonic()
        while part := connection.recv(MIB):
            took += len(part)
            if time.monotonic() - began < 2 * IDLE:
                time.sleep(0.002)
    assert time.monotonic() - began > 2 * IDLE
    assert took > len(LARGE.data) * 4 // 3


def test_a_slow_reader_of_all_there_is_room_for_keeps_no_small_answer_out(
    server: Started, tmp_path: Path
) -> None:
    large, small = bodies(tmp_path)
    (reference,) = json.loads(large)["payloads"]
    everything = json.dumps({"payloads": [reference] * 2}).encode()
    stop = Event()
    with connect(server) as connection:

        def read_slowly() -> None:
            with suppress(OSError):
                while not stop.wait(0.002) and connection.recv(MIB):
                    pass

        connection.sendall(request(everything))
        reader = Thread(target=read_slowly)
        reader.start()
        try:
            until(lambda: metric(server, "coatcheck_codec_bytes_in_flight") > IN_FLIGHT - MIB, 60)
            for _ in range(3):
                assert server.server.post("/decode", small).status_code == 200
            assert metric(server, "coatcheck_codec_bytes_in_flight") > IN_FLIGHT / 2
        finally:
            stop.set()
            reader.join()


def test_connections_that_read_nothing_make_room_for_those_that_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("coatcheck.server.connections.CONNECTIONS", 8)
    with serving(encrypted_chain(), idle_timeout=600) as server, ExitStack() as stack:
        address = urlsplit(server.url)
        # So many answers that the last connection is still at them.
        asked = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 3000
        opened = []
        for _ in range(12):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((str(address.hostname), int(address.port or 0)))
            connection.settimeout(1)
            with suppress(OSError):
                connection.sendall(asked)
            assert server.get("/health").status_code == 200
            opened.append(connection)
        assert _ends(opened[0])
        assert not _ends(opened[-1])


def test_silent_connections_are_closed_and_keep_nobody_out(server: Started, tmp_path: Path) -> None:
    _, small = bodies(tmp_path)
    before = server.open_sockets()
    with connections(server, 1000) as silent:
        began = time.monotonic()
        ask_for_health(server)
        # Where there are so many, those that were silent for longest make room at once.
        assert server.open_sockets() < 300
        for _ in range(5):
            ask_for_health(server)
            assert server.server.post("/decode", small).status_code == 200
        assert _closed(silent, 60) == 1000
        assert time.monotonic() - began < 60
    until(lambda: server.open_sockets() <= before, 60)


def test_a_head_that_comes_letter_by_letter_is_given_up(server: Started) -> None:
    head = b"GET /health HTTP/1.1\r\nX-Slow: " + b"x" * 1000
    with connect(server) as connection:
        connection.settimeout(0.25)
        began = time.monotonic()
        with suppress(ConnectionError):
            for at in range(len(head)):
                connection.sendall(head[at : at + 1])
                with suppress(TimeoutError):
                    assert connection.recv(1) == b""
                    break
        assert IDLE - 1 < time.monotonic() - began < 60


def test_bodies_that_are_being_read_are_bounded_together(tmp_path: Path) -> None:
    limits = {"COATCHECK_SERVE__CONCURRENCY": "1", "COATCHECK_SERVE__MAX_REQUEST": str(MIB)}
    with started(variables(tmp_path) | limits, tmp_path) as server, connections(server, 3) as slow:
        announced = f"{HEAD}Content-Length: {MIB}\r\n\r\n".encode()
        for connection in slow:
            connection.sendall(announced + b" " * (MIB // 2 - 1000))
        (refused,) = _first_to_answer(slow, 60)
        assert refused.recv(1000).startswith(b"HTTP/1.1 503 ")
        ask_for_health(server)
        server.process.kill()


def _rest(connection: socket.socket) -> int:
    took = 0
    try:
        while part := connection.recv(MIB):
            took += len(part)
    except ConnectionResetError:
        pass
    return took


def _ends(connection: socket.socket) -> bool:
    """Whether the server has closed it, once what was on its way is read."""
    try:
        _rest(connection)
    except TimeoutError:
        return False
    return True


def _closed(silent: list[socket.socket], seconds: float) -> int:
    """How many of the connections the server closes in that time."""
    closed, ends = 0, time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for connection in silent:
            selector.register(connection, selectors.EVENT_READ)
        while closed < len(silent) and time.monotonic() < ends:
            for key, _ in selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                assert _is_at_its_end(key.fileobj)
                selector.unregister(key.fileobj)
                closed += 1
    return closed


def _is_at_its_end(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def _first_to_answer(asking: list[socket.socket], seconds: float) -> list[socket.socket]:
    with selectors.DefaultSelector() as selector:
        for connection in asking:
            selector.register(connection, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(seconds) if isinstance(key.fileobj, socket.socket)]
