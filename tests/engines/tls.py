"""A certificate authority of our own, and a proxy that speaks TLS in front of a server that does not."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import trustme

from tests.engines.fault_proxy import closed


def authority(folder: Path) -> tuple[trustme.CA, Path]:
    """An issuer, and the file with its certificate."""
    issuer = trustme.CA()
    file = folder / "issuer.pem"
    issuer.cert_pem.write_to_path(file)
    return issuer, file


@asynccontextmanager
async def tls_before(upstream: str, issuer: trustme.CA, *names: str) -> AsyncIterator[str]:
    """Serve what ``upstream`` serves, by TLS, with a certificate for ``names``; gives the endpoint."""
    address = urlsplit(upstream)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(*(names or ("127.0.0.1",))).configure_cert(context)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(address.hostname, address.port)
            writers.append(upstream_writer)
            await asyncio.gather(_pass(reader, upstream_writer), _pass(upstream_reader, writer))
        finally:
            # All of them before any is awaited: a cancel would leave the others open.
            for one in writers:
                one.close()
            for one in writers:
                await closed(one)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"https://{host}:{port}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, ssl.SSLError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()
