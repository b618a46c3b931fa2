"""Proxies on loopback that spoil requests by a plan, and keep a record of all of them; here the one for HTTP.

``async with FaultProxy(server.endpoint, seeded(7, 0.1)) as proxy:`` and give ``proxy.endpoint`` to the client.
Requests and answers are held whole in memory; ``Host`` goes through as it came, since S3 signs it.
"""

import asyncio
import random
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Fault(Enum):
    """What happens to one request."""

    NONE = "none"
    BUSY = "busy"
    """503 SlowDown; the server never sees the request."""
    BUSY_RETRY_AFTER = "busy, retry after"
    """The same with ``Retry-After``."""
    THROTTLED = "throttled"
    """429 Too Many Requests; the server never sees the request."""
    RESET = "reset"
    """The connection is reset; the server never sees the request."""
    SILENT = "silent"
    """No answer until the client goes away; the server never sees the request."""
    SLOW = "slow"
    """Half of the answer's body, a pause, the other half."""
    LATE = "late"
    """A pause, then the answer."""
    TRUNCATED = "truncated"
    """Half of the answer's body, then the end of the connection."""
    SHORT = "short"
    """Half of the answer's body, and the answer says that this is all of it."""
    FLIPPED = "flipped"
    """The last bit of the answer's body is another one."""
    LOST_ACKNOWLEDGEMENT = "lost acknowledgement"
    """The server does what it was asked; its answer never arrives."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived."""

    method: str
    target: str
    head: bytes
    body: bytes


Plan = Callable[[Request], Fault]

DAMAGE = frozenset({Fault.SHORT, Fault.FLIPPED})
"""What nobody notices who does not look at the bytes."""
_FOR_ALL = (Fault.BUSY, Fault.BUSY_RETRY_AFTER, Fault.THROTTLED, Fault.RESET, Fault.LATE)
_FOR_BODIES = (Fault.SLOW, Fault.TRUNCATED)
_BUSY = {
    Fault.BUSY: ("503 Slow Down", "SlowDown"),
    Fault.BUSY_RETRY_AFTER: ("503 Slow Down", "SlowDown"),
    Fault.THROTTLED: ("429 Too Many Requests", "TooManyRequests"),
}
_LINGER_ZERO = struct.pack("ii", 1, 0)


def no_faults(_request: Request) -> Fault:
    return Fault.NONE


def seeded(seed: int, share: float) -> Plan:
    """Spoil ``share`` of all requests, each with a fault that fits its method, in an order fixed by ``seed``."""
    draw = random.Random(seed)

    def plan(request: Request) -> Fault:
        if draw.random() >= share:
            return Fault.NONE
        fitting = _FOR_ALL + (_FOR_BODIES if request.method == "GET" else (Fault.LOST_ACKNOWLEDGEMENT,))
        if request.method == "GET" and "list-type=" not in request.target:
            fitting += tuple(sorted(DAMAGE, key=lambda fault: fault.value))
        return draw.choice(fitting)

    return plan


class Proxy(ABC):
    """Stands in front of a server on loopback.

    Args:
        upstream: The server's host and port.
        plan: Asked once for each request, in the order of arrival.
        pause: Seconds that a slow or late answer pauses.
    """

    def __init__(self, upstream: tuple[str, int], plan: Plan, pause: float) -> None:
        self.upstream = upstream
        self.plan = plan
        self.pause = pause
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._arrived = asyncio.Condition()
        self.record: list[tuple[Request, Fault]] = []
        """Every request in the order of arrival, and what was done to it."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of this proxy."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return host, port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=1 << 20)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    async def arrived(self, count: int) -> None:
        """Wait until ``count`` requests have arrived in all."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.record) >= count)

    async def abandoned(self) -> None:
        """Wait until the clients have closed every connection that is open now."""
        await asyncio.gather(*self._connections)

    async def fault_of(self, request: Request) -> Fault:
        """What is to happen to a request that has just arrived."""
        fault = self.plan(request)
        self.record.append((request, fault))
        async with self._arrived:
            self._arrived.notify_all()
        return fault

    async def passes(self, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Do to a request what is the same in any protocol; whether the server is to see it."""
        match fault:
            case Fault.RESET:
                _reset(writer)
                return False
            case Fault.SILENT:
                await reader.read()
                return False
            case Fault.LATE:
                await asyncio.sleep(self.pause)
        return True

    @abstractmethod
    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; it is closed afterwards."""

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.ensure_future(self.serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        # One that is cancelled before it begins closes nothing itself.
        connection.add_done_callback(lambda _: writer.close())


class FaultProxy(Proxy):
    """Speaks HTTP, to the server at ``upstream``: an ``http://`` address on loopback.

    Args:
        upstream: The server's address.
        plan: As :class:`Proxy`.
        pause: As :class:`Proxy`.
        retry_after: Seconds that a busy answer asks for.
    """

    def __init__(
        self, upstream: str, plan: Plan = no_faults, *, pause: float = 0.05, retry_after: int = 1
    ) -> None:
        address = urlsplit(upstream)
        assert address.hostname is not None
        assert address.port is not None
        super().__init__((address.hostname, address.port), plan, pause)
        self._retry_after = retry_after

    @property
    def endpoint(self) -> str:
        host, port = self.address
        return f"http://{host}:{port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = _Upstream(self.upstream)
        try:
            while await self._exchange(reader, writer, server):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # Either side may go away at any time: that is what this proxy is for.
        finally:
            # Both before anything is awaited: a cancel meanwhile would leave a socket open.
            writer.close()
            server.begin_close()
            await closed(writer)
            await server.close()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: "_Upstream"
    ) -> bool:
        """Serve one request; whether the connection can take another."""
        head = await reader.readuntil(b"\r\n\r\n")
        if b"\r\nexpect: 100-continue\r\n" in head.lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _read_body(reader, head)
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        request = Request(method, target, head, body)
        fault = await self.fault_of(request)
        return await self._answer(request, fault, reader, writer, server)

    async def _answer(
        self,
        request: Request,
        fault: Fault,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: "_Upstream",
    ) -> bool:
        if fault in _BUSY:
            writer.write(self._busy(request, fault))
            await writer.drain()
            return True
        if not await self.passes(fault, reader, writer):
            return False
        head, body = await server.ask(request)
        if fault is Fault.LOST_ACKNOWLEDGEMENT:
            return False
        if fault in DAMAGE and body:
            head, body = _damaged(head, body, fault)
        half = len(body) // 2
        if fault in {Fault.SLOW, Fault.TRUNCATED}:
            writer.write(head + body[:half])
            await writer.drain()
            if fault is Fault.TRUNCATED:
                return False
            await asyncio.sleep(self.pause)
            writer.write(body[half:])
        else:
            writer.write(head + body)
        await writer.drain()
        return not _has(head, b"connection: close")

    def _busy(self, request: Request, fault: Fault) -> bytes:
        status, code = _BUSY[fault]
        body = f"<Error><Code>{code}</Code><Message>Please reduce your request rate.</Message></Error>"
        after = f"Retry-After: {self._retry_after}\r\n" if fault is Fault.BUSY_RETRY_AFTER else ""
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n{after}\r\n"
        return (head + ("" if request.method == "HEAD" else body)).encode()


class _Upstream:
    """One connection to the server, opened on first use."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request) -> tuple[bytes, bytes]:
        """The head and the body of the server's answer, as they came."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=1 << 20)
        reader, writer = self._streams
        writer.write(_without(request.head, b"expect") + request.body)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        if request.method == "HEAD" or head.split(b" ", 2)[1][:3] in {b"204", b"304"}:
            return head, b""
        return head, await _read_body(reader, head)

    def begin_close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()

    async def close(self) -> None:
        if self._streams is not None:
            await closed(self._streams[1])


async def _read_body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """The body that ``head`` announces, its transfer coding left as it is."""
    if _has(head, b"transfer-encoding: chunked"):
        parts = []
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";", 1)[0], 16)
            if size == 0:
                parts.append(line)
                break
            parts += [line, await reader.readexactly(size + 2)]
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            parts.append(line)
        return b"".join([*parts, b"\r\n"])
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return await reader.readexactly(int(line.split(b":", 1)[1]))
    return b""


def _damaged(head: bytes, body: bytes, fault: Fault) -> tuple[bytes, bytes]:
    """The answer with other bytes in its body, which nothing in its head gives away."""
    if _has(head, b"transfer-encoding: chunked"):
        body = _joined(body)
    body = body[: len(body) // 2] if fault is Fault.SHORT else body[:-1] + bytes([body[-1] ^ 1])
    plain = _without(_without(head, b"transfer-encoding"), b"content-length")
    return plain.replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % len(body)), body


def _joined(chunked: bytes) -> bytes:
    """The body that came in chunks."""
    parts: list[bytes] = []
    rest = chunked
    while True:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line.split(b";", 1)[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(rest[:size])
        rest = rest[size + 2 :]


def _has(head: bytes, header: bytes) -> bool:
    return b"\r\n" + header + b"\r\n" in head.lower()


def _without(head: bytes, name: bytes) -> bytes:
    return b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(name + b":"))


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the client sees a reset, not an end."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    writer.transport.abort()


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close, whatever has become of the other side."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
