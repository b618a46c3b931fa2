"""An HTTP proxy in its own process that counts requests by kind, and delays them.

``async with http_proxy(endpoint) as proxy:``, then give ``proxy.endpoint`` to the client. The proxy's processor time is not in
the figures. ``Host`` is passed on unchanged, since S3 signs it, and so is everything else, except for
``Expect: 100-continue``, which is answered at once and so costs no round trip.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from benchmarks.engines.helper import Answer, Helper, Task, helper, obey

KINDS = ("puts", "gets", "heads", "lists", "deletes", "others")
_ANSWER_SECONDS = 10.0
_HEAD_SIZE = 1 << 20


class HttpProxy:
    """The proxy, for the one that started it."""

    def __init__(self, helper: Helper, endpoint: str) -> None:
        self.endpoint = endpoint
        self._helper = helper

    async def count_from_zero(self, delay: float = 0.0) -> None:
        """Set all counts to zero.

        Args:
            delay: Seconds to add to each request from now on.
        """
        await self._helper.ask(_ANSWER_SECONDS, delay=delay)

    async def requests(self) -> dict[str, int]:
        """Return the requests since then, by kind: one of :data:`KINDS`."""
        counted = await self._helper.ask(_ANSWER_SECONDS)
        return {kind: counted.get(kind, 0) for kind in KINDS}


@asynccontextmanager
async def http_proxy(upstream: str) -> AsyncIterator[HttpProxy]:
    """Run a proxy on a free port of 127.0.0.1, in front of the ``http://`` address ``upstream``."""
    async with helper(__name__, upstream) as process:
        answer = await process.ask(_ANSWER_SECONDS)
        yield HttpProxy(process, answer["endpoint"])


class _Relay:
    def __init__(self, upstream: str) -> None:
        address = urlsplit(upstream)
        self._upstream = address.hostname, address.port
        self._delay = 0.0
        self._endpoint = ""
        self._counted: Counter[str] = Counter()
        self._connections: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_HEAD_SIZE)
        host, port = server.sockets[0].getsockname()
        self._endpoint = f"http://{host}:{port}"
        await obey(self._do)

    async def _do(self, task: Task) -> Answer:
        if "delay" in task:
            self._delay = task["delay"]
            self._counted.clear()
        return {"endpoint": self._endpoint, **self._counted}

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.ensure_future(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._upstream, limit=_HEAD_SIZE)
        # Either side may close an idle connection.
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"\r\nexpect: 100-continue\r\n" in head.lower():
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    head = b"\r\n".join(
                        line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:")
                    )
                body = await _body(reader, head)
                kind = _kind(head)
                self._counted[kind] += 1
                if self._delay:
                    await asyncio.sleep(self._delay)
                server_writer.write(head + body)
                head = await server_reader.readuntil(b"\r\n\r\n")
                bare = kind == "heads" or head.split(b" ", 2)[1] in {b"204", b"304"}
                writer.write(head if bare else head + await _body(server_reader, head))
                await writer.drain()
        for side in (writer, server_writer):
            side.close()


def _kind(head: bytes) -> str:
    method, target, _ = head.split(b" ", 2)
    match method:
        case b"GET":
            return "lists" if b"list-type=2" in target else "gets"
        case b"PUT" | b"HEAD" | b"DELETE":
            return f"{method.decode().lower()}s"
        case _:
            return "others"


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """Read the body that ``head`` announces, with its transfer coding."""
    headers = head.lower()
    if b"\r\ntransfer-encoding: chunked\r\n" in headers:
        parts: list[bytes] = []
        while True:
            line = await reader.readuntil(b"\r\n")
            parts.append(line)
            size = int(line.split(b";", 1)[0], 16)
            if not size:
                break
            parts.append(await reader.readexactly(size + 2))
        while parts[-1] != b"\r\n":
            parts.append(await reader.readuntil(b"\r\n"))
        return b"".join(parts)
    _, found, after = headers.partition(b"\r\ncontent-length:")
    return await reader.readexactly(int(after.split(b"\r\n", 1)[0])) if found else b""


if __name__ == "__main__":
    asyncio.run(_Relay(sys.argv[1]).run())
