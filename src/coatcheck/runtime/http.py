"""A client for HTTP services: bounded answers, no redirects, timed by progress. Needs aiohttp."""

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
"""Bytes that are read of an answer that is not a success."""
_SLOWEST: Final = 1 << 20
"""Bytes per second: a connection that is slower than this on average counts as dead."""
_PIECE: Final = 1 << 17
_BUFFER: Final = 1 << 18

Body = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One request."""

    method: str
    url: str
    """With quoted characters."""
    headers: Mapping[str, str]
    """All headers but ``User-Agent`` and those of the connection."""
    body: Body = ()
    limit: int = ERROR_LIMIT
    """Bytes of the body that are read if the answer is a success; otherwise :data:`ERROR_LIMIT`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request."""

    status: int
    headers: Mapping[str, str]
    """Names are case-insensitive."""
    body: bytes
    size: int
    """Bytes of the whole body, or a lower bound: more than in ``body`` if that was cut off at the limit."""

    def retry_after(self) -> float | None:
        """Return the seconds to wait that the service asked for; None if it did not."""
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
    """Sends requests to one endpoint, and reads no more of an answer than the request allows. For any number of event loops.

    Redirects are not followed: they would send credentials and payloads to a place that was not configured. Proxies come
    from the environment. No write is repeated; aiohttp repeats a GET or DELETE once if its connection ended before any
    answer, which can happen to kept-alive connections at any time.

    Args:
        endpoint: Scheme, host and port, to choose the proxy and for messages.
        timeout: Seconds without progress, or below 1 MiB per second, after which a request is given up.
        connections: Maximum number of concurrent requests in each event loop; None for no limit.
        ca_bundle: PEM file of trusted certificates; None for the system's.

    Raises:
        ConfigError: ``ca_bundle`` cannot be read.
    """

    def __init__(
        self, endpoint: str, timeout: float, *, connections: int | None = None, ca_bundle: str | None = None
    ) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        tls = _tls(ca_bundle) if endpoint.startswith("https:") else None
        self._connections = PerLoop(partial(_open, endpoint, tls, connections))

    async def ask(self, request: Request, key: str) -> Answer:
        """Send a request and return its answer, whatever its status.

        Args:
            request: The request.
            key: The object that it is about, for errors.

        Raises:
            StoreUnavailable: No complete answer came in time.
            ConfigError: The server's certificate is not trusted, or it does not speak the protocol.
        """
        connections = await self._connections.get()
        async with connections.free or nullcontext():
            try:
                async with asyncio.timeout(self._timeout) as patience:
                    return await _exchange(connections.session, request, _Pace(patience, self._timeout))
            except TimeoutError:
                failure: CoatcheckError = StoreUnavailable(
                    f"{self._endpoint} sent nothing for {self._timeout:g} s, or was slower than 1 MiB/s",
                    "Retry; check the network, or raise the store's time-out.",
                    key,
                )
            except (aiohttp.ClientError, OSError) as error:
                failure = self._failure(error, key)
        # Raised out here so that the original is not chained: it contains the request with its credentials.
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
                "If the server has no TLS, use http:// in the endpoint; else check host and port.",
            )
        todo = "Retry; check the network and the endpoint."
        if isinstance(error, aiohttp.ClientResponseError) and self._endpoint.startswith("http:"):
            todo = "If the server has TLS, use https:// in the endpoint; else check host and port."
        return StoreUnavailable(f"{self._endpoint} {_why(error)}", todo, key)


async def _open(
    endpoint: str, tls: ssl.SSLContext | None, limit: int | None
) -> AsyncGenerator[_Connections, None]:
    address = urlsplit(endpoint)
    proxy = None if proxy_bypass(address.hostname or "") else getproxies().get(address.scheme)
    async with aiohttp.ClientSession(
        # The semaphore limits them instead: waiting for it is not part of any time-out.
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
    """Postpones the time-out of a request while bytes flow."""

    def __init__(self, patience: asyncio.Timeout, seconds: float) -> None:
        self._patience = patience
        self._seconds = seconds
        self._time = asyncio.get_running_loop().time
        self._start = self._time()
        self._passed = 0

    def passed(self, size: int) -> None:
        """Note that ``size`` more bytes were sent or received."""
        self._passed += size
        floor = self._start + self._seconds + self._passed / _SLOWEST
        with suppress(RuntimeError):  # it has ended: an answer may come before the whole body is sent
            self._patience.reschedule(min(self._time() + self._seconds, floor))


async def _exchange(session: aiohttp.ClientSession, request: Request, pace: _Pace) -> Answer:
    # Also small bodies go in pieces: aiohttp would repeat a PUT by itself, without knowing if the first one took effect.
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
            response.close()  # unread bytes would be taken for the next answer
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
            "Use a PEM file of certificates.",
        ) from error


def _untrusted(endpoint: str, error: Exception) -> ConfigError:
    said = getattr(error, "verify_message", "") or type(error).__name__
    return ConfigError(
        f"the certificate of {endpoint} is not accepted: {said}",
        "If you issued it yourself, pass the issuer's certificate: ca_bundle= of the store or its URL, or the setting "
        "ca_bundle; else check host and port.",
    )


def _why(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "cannot be reached: its name cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot be reached: {os.strerror(error.errno).lower() if error.errno else type(error.os_error).__name__}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "ended the connection without an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "ended the connection in the middle of its answer"
    if isinstance(error, OSError) and error.errno:
        return f"cannot be reached: {os.strerror(error.errno).lower()}"
    return f"does not answer in HTTP: {type(error).__name__}"


def _tls_reason(error: aiohttp.ClientSSLError) -> str:
    return str(getattr(error.os_error, "reason", "") or type(error.os_error).__name__)
