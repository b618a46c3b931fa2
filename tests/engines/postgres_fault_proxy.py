"""The proxy that speaks PostgreSQL's protocol, version 3 (PostgreSQL's manual, "Frontend/Backend Protocol").

A request is all that the client says up to the point at which it waits for an answer; an answer is all that the server
says until it is ready for the next request. What either says while it logs in passes as it is.
"""

import asyncio
import re
import struct
from typing import Final

from tests.engines.fault_proxy import DAMAGE, Fault, Plan, Proxy, Request, closed, no_faults
from tests.engines.postgres import PostgresServer

_CANCEL: Final = 80877102
_LAST_OF_REQUEST: Final = b"SQ"
"""Sync, and a query in the simple protocol."""
_GOODBYE: Final = b"X"
_READY: Final = b"Z"
_ROW: Final = b"D"
_WANTS_ANSWER: Final = {3, 5, 10, 11}
"""Kinds of authentication request after which the client speaks."""
_READY_MESSAGE: Final = _READY + struct.pack(">I", 5) + b"I"
_ERRORS: Final = {
    Fault.BUSY: (b"ERROR", b"53000", b"insufficient resources"),
    Fault.THROTTLED: (b"FATAL", b"53300", b"too many connections"),
}


class PostgresFaultProxy(Proxy):
    """Stands in front of ``server``; its requests have a statement's first word as method, and all of it as target."""

    def __init__(self, server: PostgresServer, plan: Plan = no_faults, *, pause: float = 0.05) -> None:
        super().__init__((server.host, server.port), plan, pause)
        self._of = server

    @property
    def dsn(self) -> str:
        """The server's DSN, by way of this proxy, which can look into nothing that is encrypted."""
        host, port = self.address
        through = PostgresServer(port, self._of.password, self._of.user, host)
        return f"{through.dsn()}?sslmode=disable&gssencmode=disable"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """See :meth:`Proxy.serve`."""
        try:
            from_server, to_server = await asyncio.open_connection(*self.upstream)
            try:
                if await _log_in(reader, writer, from_server, to_server):
                    while await self._exchange(reader, writer, from_server, to_server):
                        pass
            finally:
                await closed(to_server)
        except (OSError, asyncio.IncompleteReadError):
            pass  # Either side may go away at any time: that is what this proxy is for.
        finally:
            await closed(writer)

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
    ) -> bool:
        """Serve one request; whether the connection can take another."""
        asked = await _until(reader, _LAST_OF_REQUEST + _GOODBYE)
        if asked[-1][:1] == _GOODBYE:
            return False
        fault = await self.fault_of(_request(b"".join(asked)))
        if fault in _ERRORS:
            severity, _, _ = _ERRORS[fault]
            lives = severity == b"ERROR"
            writer.write(_error(*_ERRORS[fault]) + (_READY_MESSAGE if lives else b""))
            await writer.drain()
            return lives
        if not await self.passes(fault, reader, writer):
            return False
        to_server.writelines(asked)
        await to_server.drain()
        return await self._answer(fault, await _until(from_server, _READY), writer)

    async def _answer(self, fault: Fault, answer: list[bytes], writer: asyncio.StreamWriter) -> bool:
        if fault is Fault.LOST_ACKNOWLEDGEMENT:
            return False
        data = b"".join(_damaged(message, fault) for message in answer)
        half = len(data) // 2 if fault in {Fault.SLOW, Fault.TRUNCATED} else len(data)
        writer.write(data[:half])
        await writer.drain()
        if fault is Fault.SLOW:
            await asyncio.sleep(self.pause)
        if fault is not Fault.TRUNCATED:
            writer.write(data[half:])
            await writer.drain()
        return fault is not Fault.TRUNCATED


async def _log_in(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    from_server: asyncio.StreamReader,
    to_server: asyncio.StreamWriter,
) -> bool:
    """Pass on what is said until the server is ready; whether it is."""
    length = await reader.readexactly(4)
    start = length + await reader.readexactly(int.from_bytes(length, "big") - 4)
    to_server.write(start)
    await to_server.drain()
    if int.from_bytes(start[4:8], "big") == _CANCEL:
        return False
    while True:
        said = await _message(from_server)
        writer.write(said)
        await writer.drain()
        if said[:1] == b"R" and int.from_bytes(said[5:9], "big") in _WANTS_ANSWER:
            to_server.write(await _message(reader))
            await to_server.drain()
        elif said[:1] in {_READY, b"E"}:
            return said[:1] == _READY


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(int.from_bytes(head[1:], "big") - 4)


async def _until(reader: asyncio.StreamReader, kinds: bytes) -> list[bytes]:
    """All messages up to one of these kinds."""
    messages = [await _message(reader)]
    while messages[-1][:1] not in kinds:
        messages.append(await _message(reader))
    return messages


def _request(said: bytes) -> Request:
    """What it is that a client asked for."""
    found = re.search(rb"[A-Z]+ [^\0]*", said)
    statement = found[0].decode("utf-8", "replace") if found else ""
    return Request(statement.partition(" ")[0], statement, b"", said)


def _error(severity: bytes, code: bytes, text: bytes) -> bytes:
    fields = b"".join((b"S", severity, b"\0V", severity, b"\0C", code, b"\0M", text, b"\0\0"))
    return b"E" + struct.pack(">I", len(fields) + 4) + fields


def _damaged(message: bytes, fault: Fault) -> bytes:
    """A row whose last value has other bytes, its lengths all in order; anything else as it is."""
    if message[:1] != _ROW or fault not in DAMAGE:
        return message
    values, at = [], 7
    for _ in range(int.from_bytes(message[5:7], "big")):
        size = int.from_bytes(message[at : at + 4], "big", signed=True)
        values.append(message[at + 4 : at + 4 + max(size, 0)])
        at += 4 + max(size, 0)
    last = values[-1]
    values[-1] = last[: len(last) // 2] if fault is Fault.SHORT else last[:-1] + bytes([last[-1] ^ 1])
    body = message[5:7] + b"".join(struct.pack(">i", len(value)) + value for value in values)
    return _ROW + struct.pack(">I", len(body) + 4) + body
