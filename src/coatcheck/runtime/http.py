"""Requests to a bucket's service over HTTP: bounded, never redirected, timed by their silence. Needs aiohttp."""

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from coatcheck.errors import CoatcheckError, ConfigError, StoreUnavailable
from coatcheck.runtime.per_loop import PerLoop

ERROR_LIMIT: Final = 1 << 16
"""Bytes of an answer that is no success: more are never read."""
_SLOWEST: Final = 1 << 20
"""Bytes per second: a connection that is slower than this on the whole is taken for a dead one."""
_PIECE: Final = 1 << 17
_BUFFER: Final = 1 << 18

Body = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One request."""

    method: str
    url: str
    """Already quoted."""
    headers: Mapping[str, str]
    """All that the service is to see."""
    body: Body = ()
    limit: int = ERROR_LIMIT
    """Bytes of a success's body that are read; of anything else it is :data:`ERROR_LIMIT`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request."""

    status: int
    headers: Mapping[str, str]
    """Their names in any case."""
    body: bytes
    size: int
    """Bytes that the body has, or at least has: more than are in ``body`` where it was cut off at the limit."""

    def retry_after(self) -> float | None:
        """Seconds that the service asked to be left alone, if it did."""
        after = self.headers.get("Retry-After", "")
        if after.isdecimal():
            return float(after)
        try:
            until = parsedate_to_datetime(after)
        except ValueError:
            return None
        return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


@dataclass(frozen=True, slots=True)
class _Connections:
    session: aiohttp.ClientSession
    free: asyncio.Semaphore | None


class HttpClient:
    """Sends requests to one endpoint, and reads no more of an answer than it is told to.

    A redirect is an answer like any other: to follow it would take credentials and payloads to another place than was
    configured. Proxies are those of the environment. No write is repeated; aiohttp repeats a GET or DELETE once whose
    connection ended before any answer came, as kept-alive connections may at any time.

    Args:
        endpoint: Scheme, host and port, for the proxy and for messages.
        timeout: Seconds of silence, or for which less than 1 MiB a second passes, after which a request is given up.
        connections: The most requests under way at once in each event loop; None for any number.
        ca_bundle: A file of the certificates, PEM, of those who may vouch for the service; None for the system's.
    """

    def __init__(
        self, endpoint: str, timeout: float, *, connections: int | None = None, ca_bundle: str | None = None
    ) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        tls = _tls(ca_bundle) if endpoint.startswith("https:") else None
        self._connections = PerLoop(partial(_open, endpoint, tls, connections))

    async def ask(self, request: Request, key: str) -> Answer:
        """Send a request and read its answer, whatever its status; errors are about the object ``key``.

        Raises:
            StoreUnavailable: No answer came, or not all of it, or not in time.
            ConfigError: Whoever answers is not to be trusted, or speaks another protocol.
        """
        held = await self._connections.get()
        async with held.free or nullcontext():
            try:
                async with asyncio.timeout(self._timeout) as patience:
                    return await _exchange(held.session, request, _Pace(patience, self._timeout))
            except TimeoutError:
                failure: CoatcheckError = StoreUnavailable(
                    f"{self._endpoint} was silent, or slower than 1 MiB/s, within {self._timeout:g} s",
                    "Retry; check the network, or raise the store's time-out.",
                    key,
                )
            except (aiohttp.ClientError, OSError) as error:
                failure = self._failure(error, key)
        # Out here, so that the original does not hang on to it: it holds the request with its credentials.
        raise failure

    async def close(self) -> None:
        """Close the connections of all loops; new ones are opened when needed."""
        await self._connections.close()

    def _failure(self, error: Exception, key: str) -> CoatcheckError:
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return _untrusted(self._endpoint, error.certificate_error)
        if isinstance(error, aiohttp.ClientSSLError):
            return ConfigError(
                f"{self._endpoint} does not speak TLS ({_tls_reason(error)})",
                "If it is a server without TLS, its endpoint begins with http://; else check host and port.",
            )
        todo = "Retry; check the network and the endpoint."
        if isinstance(error, aiohttp.ClientResponseError) and self._endpoint.startswith("http:"):
            todo = "If it is a server with TLS, its endpoint begins with https://; else check host and port."
        return StoreUnavailable(f"{self._endpoint} {_why(error)}", todo, key)


async def _open(
    endpoint: str, tls: ssl.SSLContext | None, limit: int | None
) -> AsyncGenerator[_Connections, None]:
    address = urlsplit(endpoint)
    proxy = None if proxy_bypass(address.hostname or "") else getproxies().get(address.scheme)
    async with aiohttp.ClientSession(
        # The semaphore limits them: waiting in line there is no part of any time-out.
        connector=aiohttp.TCPConnector(limit=0, ssl=tls or True),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "coatcheck", "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        auto_decompress=False,
        read_bufsize=_BUFFER,
        proxy=proxy,
    ) as session:
        yield _Connections(session, asyncio.Semaphore(limit) if limit else None)


class _Pace:
    """Puts the end of a request off as its bytes pass."""

    def __init__(self, patience: asyncio.Timeout, seconds: float) -> None:
        self._patience = patience
        self._seconds = seconds
        self._time = asyncio.get_running_loop().time
        self._start = self._time()
        self._passed = 0

    def passed(self, size: int) -> None:
        """Note that ``size`` more bytes have gone one way or the other."""
        self._passed += size
        floor = self._start + self._seconds + self._passed / _SLOWEST
        with suppress(RuntimeError):  # It has ended: an answer may come before all of a body is sent.
            self._patience.reschedule(min(self._time() + self._seconds, floor))


async def _exchange(session: aiohttp.ClientSession, request: Request, pace: _Pace) -> Answer:
    # In pieces also where it is small: aiohttp would send a PUT a second time by itself, not knowing what became of the first.
    data = _pieces(request.body, pace) if request.body else None
    headers = (
        {**request.headers, "Content-Length": str(sum(map(len, request.body)))} if data else request.headers
    )
    url = URL(request.url, encoded=True)
    async with session.request(
        request.method, url, headers=headers, data=data, allow_redirects=False
    ) as response:
        succeeded = HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES
        limit = request.limit if succeeded else ERROR_LIMIT
        parts: list[bytes] = []
        size = 0
        announced = response.content_length or 0
        if announced <= limit or not succeeded:
            async for part in response.content.iter_any():
                pace.passed(len(part))
                size += len(part)
                parts.append(part)
                if size > limit:
                    break
        if max(size, announced) > limit:
            response.close()  # What was not read would be taken for the next answer.
        return Answer(response.status, response.headers, b"".join(parts), max(size, announced))


async def _pieces(body: Body, pace: _Pace) -> AsyncIterator[bytes | memoryview]:
    for part in body:
        view = memoryview(part)
        for start in range(0, len(view), _PIECE):
            piece = view[start : start + _PIECE]
            yield piece
            pace.passed(len(piece))


def _tls(ca_bundle: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_bundle)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the certificates in {ca_bundle} cannot be read: {error.strerror or type(error).__name__}",
            "Name a file of certificates in PEM.",
        ) from error


def _untrusted(endpoint: str, error: Exception) -> ConfigError:
    said = getattr(error, "verify_message", "") or type(error).__name__
    return ConfigError(
        f"the certificate of {endpoint} is not accepted: {said}",
        "If its issuer is your own, name the issuer's certificate: ca_bundle= of the store or its URL, or the setting ca_bundle; "
        "else check host and port.",
    )


def _why(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "cannot be reached: its name cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot be reached: {os.strerror(error.errno).lower() if error.errno else type(error.os_error).__name__}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "ended the connection without an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "ended the connection within its answer"
    if isinstance(error, OSError) and error.errno:
        return f"cannot be reached: {os.strerror(error.errno).lower()}"
    return f"gives no answer of HTTP: {type(error).__name__}"


def _tls_reason(error: aiohttp.ClientSSLError) -> str:
    return str(getattr(error.os_error, "reason", "") or type(error.os_error).__name__)
