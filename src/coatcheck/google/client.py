"""Requests to Google's JSON APIs. Needs the packages of ``coatcheck[gcs]``."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from urllib.parse import urlencode

from coatcheck.google.identity import GoogleIdentity
from coatcheck.runtime.http import Answer, Body, HttpClient, Request

_UNAUTHORIZED = 401
ANSWER_LIMIT = 1 << 24
"""Most bytes of an answer that are read: 1,000 entries of a listing take a tenth of it."""


class GoogleClient:
    """Sends one request at a time to an endpoint; a request whose token was refused is sent once more with a new one.

    Args:
        endpoint: Scheme, host and port.
        identity: Source of the credentials.
        timeout: Seconds, as of :class:`HttpClient`.
        connections: As of :class:`HttpClient`.
        ca_bundle: As of :class:`HttpClient`.
    """

    def __init__(
        self,
        endpoint: str,
        identity: GoogleIdentity,
        timeout: float,
        *,
        connections: int,
        ca_bundle: str | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._identity = identity
        self._http = HttpClient(endpoint, timeout, connections=connections, ca_bundle=ca_bundle)

    async def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        key: str,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        body: Body = (),
        limit: int = ANSWER_LIMIT,
    ) -> Answer:
        """Send a request to ``path`` (already quoted) and read its answer, whatever its status.

        Errors are about the object ``key``.

        Raises:
            StoreUnavailable: No answer came, or it was incomplete or late.
            StoreDenied: The credentials cannot be renewed.
            ConfigError: There are no credentials, or the server's certificate is not trusted.
        """
        request = Request(method, f"{self._endpoint}{path}?{urlencode(query)}", headers, body, limit)
        identity = await self._identity.headers()
        answer = await self._http.ask(replace(request, headers={**headers, **identity}), key)
        if answer.status == _UNAUTHORIZED and self._identity.refused(identity):
            identity = await self._identity.headers()
            answer = await self._http.ask(replace(request, headers={**headers, **identity}), key)
        return answer

    async def close(self) -> None:
        """Close the connections of all loops; new ones are opened when needed."""
        await self._http.close()
