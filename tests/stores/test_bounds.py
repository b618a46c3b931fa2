"""What comes over the wire bounds a request, in bytes and in time; not what a header says, and not how large it is."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from coatcheck.contracts.store import Store
from coatcheck.errors import CoatcheckError, LimitExceeded, StoreDenied, StoreUnavailable
from coatcheck.stores.gcs import GCSStore
from coatcheck.stores.s3 import S3Store
from tests.stores.s3_fixtures import session_of

_LIMIT = 1 << 20
_PIECE = bytes(1 << 16)
_PROOF = 'ETag: "1"\r\nx-amz-request-id: 1\r\nx-goog-generation: 1\r\n'

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _server(serve: Serve) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Serve requests whose heads are read; gives the endpoint, and what is set when a client has gone away."""
    gone = asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await serve(reader, writer)
            await reader.read()
        except OSError:
            pass
        finally:
            gone.set()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(connection(reader, writer))
        tasks.add(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}", gone
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def _head(status: int, how: str) -> bytes:
    return f"HTTP/1.1 {status} Answer\r\n{_PROOF}{how}\r\n\r\n".encode()


@pytest.fixture(params=["s3", "gcs"])
def at(request: pytest.FixtureRequest) -> Callable[..., Store]:
    """Makes a store at an address."""
    if request.param == "s3":
        session = session_of("key", "secret")
        return lambda endpoint, timeout=5.0: S3Store(
            "payloads", endpoint_url=endpoint, session=session, timeout=timeout
        )
    return lambda endpoint, timeout=5.0: GCSStore("payloads", endpoint_url=endpoint, timeout=timeout)


@pytest.mark.parametrize(
    ("status", "how", "kind"),
    [
        (200, "Transfer-Encoding: chunked", LimitExceeded),
        (200, "Connection: close", LimitExceeded),
        (200, f"Content-Length: {2 << 30}", LimitExceeded),
        (403, "Transfer-Encoding: chunked", StoreDenied),
        (403, f"Content-Length: {2 << 30}", StoreDenied),
        (404, "Connection: close", CoatcheckError),
        (503, "Transfer-Encoding: chunked", StoreUnavailable),
    ],
)
async def test_an_answer_without_end_was_held_in_memory(
    at: Callable[..., Store], status: int, how: str, kind: type[CoatcheckError]
) -> None:
    sent = 0

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(_head(status, how))
        while sent < 2 << 30:
            chunked = how.startswith("Transfer")
            writer.write(b"%x\r\n%b\r\n" % (len(_PIECE), _PIECE) if chunked else _PIECE)
            await writer.drain()
            sent += len(_PIECE)

    async with _server(serve) as (endpoint, gone), asyncio.timeout(60):
        store = at(endpoint)
        tracemalloc.start()
        try:
            with pytest.raises(kind):
                await store.get("o", _LIMIT)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await gone.wait()
        await store.close()
    # What the sockets of both sides hold, and some more.
    assert sent < 32 << 20
    assert peak < 16 * _LIMIT


async def test_a_listing_without_end_was_held_in_memory(at: Callable[..., Store]) -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(200, "Connection: close"))
        while True:
            writer.write(_PIECE)
            await writer.drain()

    async with _server(serve) as (endpoint, gone), asyncio.timeout(60):
        store = at(endpoint)
        with pytest.raises(StoreUnavailable, match="something other than"):
            await anext(store.list_objects())
        await gone.wait()
        await store.close()


@pytest.mark.parametrize("how", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_an_answer_that_ends_early_is_no_answer(at: Callable[..., Store], how: str) -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(200, how) + (b"5\r\nhello\r\n" if "chunked" in how else b"hello"))
        writer.write_eof()

    async with _server(serve) as (endpoint, _), asyncio.timeout(60):
        store = at(endpoint)
        with pytest.raises(StoreUnavailable, match="in the middle of its answer"):
            await store.get("o", _LIMIT)
        await store.close()


async def test_a_large_answer_that_flows_was_given_up(at: Callable[..., Store]) -> None:
    """10 MB at 5 MB/s with a time-out of half a second: it takes four times as long, and is never silent."""
    count = 160

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(200, f"Content-Length: {count * len(_PIECE)}"))
        for _ in range(count):
            writer.write(_PIECE)
            await writer.drain()
            await asyncio.sleep(0.0125)

    async with _server(serve) as (endpoint, _), asyncio.timeout(30):
        store = at(endpoint, timeout=0.5)
        started = asyncio.get_running_loop().time()
        assert len(await store.get("o")) == count * len(_PIECE)
        assert asyncio.get_running_loop().time() - started > 1.5
        await store.close()


@pytest.mark.parametrize("piece", [b"", b"x"])
async def test_an_answer_that_stalls_or_trickles_is_given_up(at: Callable[..., Store], piece: bytes) -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(200, "Content-Length: 100000") + _PIECE)
        while piece:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)

    async with _server(serve) as (endpoint, gone), asyncio.timeout(60):
        store = at(endpoint, timeout=0.3)
        with pytest.raises(StoreUnavailable, match=r"sent nothing for 0\.3 s"):
            await store.get("o")
        await gone.wait()
        await store.close()


async def test_a_large_upload_that_flows_was_given_up(at: Callable[..., Store]) -> None:
    """A receiver that takes 5 MB/s, far above what sockets hold: the answer comes when it has all."""
    taken = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        while taken < 24 << 20:
            taken += len(await reader.read(1 << 17))
            await asyncio.sleep(0.01)
        writer.write(_head(503, "Content-Length: 0"))

    async with _server(serve) as (endpoint, _), asyncio.timeout(40):
        store = at(endpoint, timeout=1.0)
        with pytest.raises(StoreUnavailable, match="503"):
            await store.create("o", bytes(24 << 20))
        await store.close()
    assert taken >= 24 << 20


async def test_an_upload_that_stalls_is_given_up(at: Callable[..., Store]) -> None:
    async def serve(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with _server(serve) as (endpoint, _), asyncio.timeout(60):
        store = at(endpoint, timeout=0.3)
        with pytest.raises(StoreUnavailable, match=r"sent nothing for 0\.3 s"):
            await store.create("o", bytes(64 << 20))
        await store.close()
