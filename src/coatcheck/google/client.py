"""Requests to Google Cloud Storage's JSON API. Needs the packages of ``coatcheck[gcs]``."""

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from urllib.parse import urlencode

import google_crc32c
from google.auth.credentials import AnonymousCredentials, Credentials

from coatcheck.google.identity import GoogleIdentity
from coatcheck.runtime.http import Body, HttpClient, Request
from coatcheck.stores._gcs.endpoint import is_emulator
from coatcheck.stores._gcs.errors import Answer

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_UNAUTHORIZED = 401
ANSWER_LIMIT = 1 << 24
"""Bytes of an answer about objects or buckets that are read: 1,000 entries of a listing have a tenth of it."""


class GCSClient:
    """Sends one request at a time to an endpoint; one whose token was not taken is sent once more with a new one.

    Args:
        endpoint: Scheme, host and port.
        credentials: As of :class:`GoogleIdentity`; none are looked for where the endpoint is ``http://``.
        project: As of :class:`GoogleIdentity`.
        connections: As of :class:`HttpClient`.
        timeout: Seconds, as of :class:`HttpClient`.
        scope: What the token is for.
        ca_bundle: As of :class:`HttpClient`; for Google's token server as well.
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
        ca_bundle: str | None = None,
    ) -> None:
        if credentials is None and is_emulator(endpoint):
            # An emulator; a token would cross the network in the clear.
            credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        self._endpoint = endpoint
        self._identity = GoogleIdentity(credentials, project, scope, ca_bundle)
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
            StoreUnavailable: No answer came, or not all of it, or not in time.
            StoreDenied: The credentials cannot be renewed.
            ConfigError: There are no credentials, or whoever answers is not to be trusted.
        """
        request = Request(method, f"{self._endpoint}{path}?{urlencode(query)}", headers, body, limit)
        identity = await self._identity.headers()
        answer = await self._http.ask(replace(request, headers={**headers, **identity}), key)
        if answer.status == _UNAUTHORIZED and self._identity.refused(identity):
            identity = await self._identity.headers()
            answer = await self._http.ask(replace(request, headers={**headers, **identity}), key)
        return Answer(answer.status, answer.headers, answer.body, answer.size)

    async def upload(
        self, path: str, query: Mapping[str, str], key: str, *, name: str, data: bytes
    ) -> Answer:
        """Send an object in one request, with its CRC32C for the service to check before it keeps anything."""
        about = {
            "name": name,
            "contentType": "application/octet-stream",
            "crc32c": checksum_of(data),
        }
        boundary = secrets.token_hex(16)
        start = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(about)}\r\n"
            f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        ).encode()
        body = (start, data, f"\r\n--{boundary}--\r\n".encode())
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        return await self.ask(
            "POST", path, {**query, "uploadType": "multipart"}, key, headers=headers, body=body
        )

    async def close(self) -> None:
        """Close the connections of all loops; new ones are opened when needed."""
        await self._http.close()


def checksum_of(data: bytes) -> str:
    """The CRC32C of an object as Google writes it."""
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
