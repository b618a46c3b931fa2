"""Requests to Google Cloud Storage's JSON API. Needs the packages of ``coatcheck[gcs]``."""

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import google_crc32c
from google.auth.credentials import AnonymousCredentials, Credentials
from yarl import URL

from coatcheck.errors import StoreUnavailable
from coatcheck.stores._gcs_errors import Answer
from coatcheck.stores._google_identity import GoogleIdentity
from coatcheck.stores._per_loop import PerLoop

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 30.0
_UNAUTHORIZED = 401
_JOINED_UP_TO = 1 << 18
"""Bytes up to which a body is put together in memory: cheaper than to send it in pieces."""
_PIECE = 1 << 17

_Body = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Connections:
    session: aiohttp.ClientSession
    free: asyncio.Semaphore


class GCSClient:
    """Sends one request at a time to an endpoint, at most ``connections`` in each event loop at once.

    Nothing is repeated, but for two cases, once each: a request whose token was not taken, with a new one, and by
    aiohttp a GET or DELETE whose connection ended before any answer came, as kept-alive connections may at any time.
    """

    def __init__(
        self,
        endpoint: str,
        credentials: Credentials | None,
        project: str | None,
        connections: int,
        timeout: float,
        *,
        scope: str = _SCOPE,
    ) -> None:
        if credentials is None and endpoint.startswith("http:"):
            # An emulator; a token would cross the network in the clear.
            credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        self._endpoint = endpoint
        self._identity = GoogleIdentity(credentials, project, scope)
        self._timeout = timeout
        self._connections = PerLoop(lambda: _open(endpoint, connections))

    async def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        key: str,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        body: _Body = (),
    ) -> Answer:
        """Send a request to ``path`` (already quoted) and read its answer whole, whatever its status.

        Errors are about the object ``key``.

        Raises:
            StoreUnavailable: No answer came, or not all of it, or not in time.
            StoreDenied: The credentials cannot be renewed.
            ConfigError: There are no credentials.
        """
        url = URL(f"{self._endpoint}{path}?{urlencode(query)}", encoded=True)
        held = await self._connections.get()
        async with held.free:
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._send(held.session, method, url, headers, body)
            except TimeoutError:
                why = f"it did not answer within {self._timeout:g} s"
            except (aiohttp.ClientError, OSError) as error:
                why = (
                    f"{type(error).__name__}: {error}" if isinstance(error, OSError) else type(error).__name__
                )
        # Out here, so that the original does not hang on to it: it holds the request with its token.
        raise StoreUnavailable(
            f"{self._endpoint} cannot be reached: {why}", "Retry; check the network and the endpoint.", key
        )

    async def upload(
        self, path: str, query: Mapping[str, str], key: str, *, name: str, data: bytes
    ) -> Answer:
        """Send an object in one request, with its CRC32C for the service to check before it keeps anything."""
        about = {
            "name": name,
            "contentType": "application/octet-stream",
            "crc32c": base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode(),
        }
        boundary = secrets.token_hex(16)
        start = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(about)}\r\n"
            f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        ).encode()
        body = (start, data, f"\r\n--{boundary}--\r\n".encode())
        headers = {
            "Content-Type": f"multipart/related; boundary={boundary}",
            "Content-Length": str(sum(map(len, body))),
        }
        return await self.ask(
            "POST", path, {**query, "uploadType": "multipart"}, key, headers=headers, body=body
        )

    async def close(self) -> None:
        """Close the connections of all loops; new ones are opened when needed."""
        await self._connections.close()

    async def _send(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: _Body,
    ) -> Answer:
        identity = await self._identity.headers()
        answer = await _once(session, method, url, {**headers, **identity}, body)
        if answer.status == _UNAUTHORIZED and self._identity.refused(identity):
            identity = await self._identity.headers()
            answer = await _once(session, method, url, {**headers, **identity}, body)
        return answer


async def _once(
    session: aiohttp.ClientSession, method: str, url: URL, headers: Mapping[str, str], body: _Body
) -> Answer:
    # A redirect would take the token and the payload to another place than was configured.
    async with session.request(
        method, url, headers=headers, data=_data(body), allow_redirects=False
    ) as response:
        return Answer(response.status, response.headers, await response.read())


def _data(body: _Body) -> bytes | AsyncIterator[bytes | memoryview] | None:
    if not body:
        return None
    return b"".join(body) if sum(map(len, body)) <= _JOINED_UP_TO else _pieces(body)


async def _pieces(body: _Body) -> AsyncIterator[bytes | memoryview]:
    for part in body:
        view = memoryview(part)
        for start in range(0, len(view), _PIECE):
            yield view[start : start + _PIECE]


async def _open(endpoint: str, limit: int) -> AsyncGenerator[_Connections, None]:
    address = urlsplit(endpoint)
    proxy = None if proxy_bypass(address.hostname or "") else getproxies().get(address.scheme)
    async with aiohttp.ClientSession(
        # The semaphore limits them: waiting in line there is no part of any time-out.
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": "coatcheck", "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS),
        auto_decompress=False,
        proxy=proxy,
    ) as session:
        yield _Connections(session, asyncio.Semaphore(limit))
