"""Answers what a service documents, where the real server of the tests cannot be made to."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress


def xml_error(code: str, more: str = "") -> str:
    """The body of an S3 error."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>{more}</Error>'


@asynccontextmanager
async def responding(
    status: int, body: str, headers: Mapping[str, str] | None = None, *, heard: list[bytes] | None = None
) -> AsyncIterator[str]:
    """Serve one answer to all requests from a free port; gives the endpoint. Requests are added to ``heard``, whole."""
    lines = [f"HTTP/1.1 {status} Answer", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    head = "\r\n".join([*lines, "", ""])
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            if heard is not None:
                length = re.search(rb"content-length: *([0-9]+)", request, re.IGNORECASE)
                heard.append(request + await reader.readexactly(int(length[1]) if length else 0))
            writer.write((head if request.startswith(b"HEAD ") else head + body).encode())
            writer.write_eof()
            # To close on bytes that nobody read is to reset the connection.
            await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.ensure_future(serve(reader, writer))
        connections.add(connection)
        connection.add_done_callback(connections.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()
