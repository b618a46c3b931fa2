"""Reads what DataDog's large payload codec wrote, version 2 (``github.com/DataDog/temporal-large-payload-codec``).

A large payload stands in the history as a JSON object with its metadata, the size and the SHA-256 of its data, and a key;
``GET /v2/blobs/get?key=KEY`` of the large payload service gives the data. The service makes keys of the form
``/blobs/NAMESPACE/common/sha256:HEX/sha256:HEX`` or ``/blobs/NAMESPACE/custom/PREFIX/sha256:HEX/sha256:HEX``: first the
hash of the data, then that of the metadata.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from copy import copy
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from types import MappingProxyType
from typing import Annotated, NoReturn, Self
from urllib.parse import urlencode, urlsplit

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    FormatError,
    IntegrityError,
    PayloadNotFound,
    StoreDenied,
    StoreUnavailable,
)
from coatcheck.integrations.temporal.migration.read_also import (
    MAX_FOREIGN_PAYLOAD,
    check_digest,
    no_namespace,
    no_writing,
    too_large,
)
from coatcheck.runtime.concurrency import Threads, all_at_once

_MARK = "temporal.io/remote-codec"
_VERSION = b"v2"
_AT_ONCE = 16
"""Most requests of one reader at once; each has a thread and a connection of its own."""
_HASH = r"sha256:[0-9a-f]{64}"


class _Reference(BaseModel):
    """Reference in the history."""

    model_config = ConfigDict(frozen=True)

    metadata: dict[str, Base64Bytes] | None
    size: Annotated[int, Field(ge=0)]
    """Bytes of the data."""
    digest: Annotated[str, StringConstraints(pattern=rf"^{_HASH}$")]
    key: str


class DataDogReader(PayloadCodec):
    """Decodes what DataDog's large payload codec wrote, from one service.

    Small payloads, which that codec leaves as they are, need no reader. Safe to use from any number of event loops.

    Args:
        url: The service, such as ``"https://payloads.internal"``. No redirect is followed.
        headers: Sent with each request, for the service's authentication.
        max_payload: Bytes; no larger payload is read.
        timeout: Seconds that a request may take.

    Raises:
        ConfigError: ``url`` is not an http or https address.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        max_payload: int = MAX_FOREIGN_PAYLOAD,
        timeout: float = 8.0,
    ) -> None:
        address = urlsplit(url)
        if (
            address.scheme not in {"http", "https"}
            or not address.hostname
            or address.query
            or address.username
        ):
            raise ConfigError(
                "the service's URL is not an http or https address",
                "Give scheme, host and port: https://host:443.",
            )
        self._connect = HTTPSConnection if address.scheme == "https" else HTTPConnection
        self._host = address.netloc
        self._path = f"{address.path.rstrip('/')}/v2/blobs/get"
        self._headers = dict(headers)
        self._max_payload = max_payload
        self._timeout = timeout
        self._threads = Threads(_AT_ONCE, "datadog-reader")
        self._namespace = ""
        self._within: dict[str, Self] = {}

    def within(self, namespace: str) -> Self:
        """Return the same reader for the payloads of one namespace; one object for each."""
        if namespace not in self._within:
            reader = copy(self)
            reader._namespace = namespace  # noqa: SLF001 - its own class
            self._within[namespace] = reader
        return self._within[namespace]

    async def encode(self, payloads: Sequence[Payload]) -> NoReturn:  # noqa: ARG002 - the SDK's signature
        """Refuse to encode.

        Raises:
            ConfigError: Always.
        """
        no_writing("DataDogReader")

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decode each that DataDog's codec wrote, concurrently; same length and order as ``payloads``.

        Raises:
            ConfigError: A payload is said to be another namespace's.
            FormatError: What stands in the history is not as that codec writes it, or is of version 1.
            IntegrityError: The data has another size or hash than the history states.
            LimitExceeded: The data is larger than ``max_payload``; it is not fetched then.
            PayloadNotFound: The service does not have it.
            StoreError: The service cannot or will not give it.
        """
        return await all_at_once(map(self._decode, payloads))

    async def _decode(self, payload: Payload) -> Payload:
        version = payload.metadata.get(_MARK)
        if version is None:
            return payload
        reference, digest = self._checked(version, payload.data)
        data = await self._fetch(reference, digest)
        await check_digest(data, digest)
        return Payload(metadata=reference.metadata or {}, data=data)

    def _checked(self, version: bytes, data: bytes) -> tuple[_Reference, str]:
        """Return the reference and the hash in it, before any I/O."""
        if not self._namespace:
            raise no_namespace("DataDogReader")
        if version != _VERSION:
            raise FormatError(
                f"a payload of DataDog's codec has version {version[:8]!r}", "DataDogReader reads version v2."
            )
        try:
            reference = _Reference.model_validate_json(data)
        except ValidationError:
            # Not chained: it quotes what it was given.
            raise FormatError(
                "malformed reference of DataDog's codec", "DataDog's codec did not write it."
            ) from None
        digest = reference.digest.removeprefix("sha256:")
        belongs = rf"/blobs/{re.escape(self._namespace)}/(?:common|custom/[0-9A-Za-z_/-]+)"
        if not re.fullmatch(rf"{belongs}/{reference.digest}/{_HASH}", reference.key):
            raise ConfigError(
                f"a payload is said to have a key that the service does not make for namespace {self._namespace!r}",
                "Read it where its namespace is read; else the history was tampered with.",
                digest,
            )
        if reference.size > self._max_payload:
            raise too_large(reference.size, self._max_payload, digest)
        return reference, digest

    async def _fetch(self, reference: _Reference, digest: str) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                status, body = await loop.run_in_executor(self._threads.pool, self._get, reference)
        except TimeoutError:
            why = f"no answer within {self._timeout:g} s"
        except (HTTPException, OSError) as error:
            why = type(error).__name__
        else:
            if status != HTTPStatus.OK:
                raise _refused(status, digest)
            if len(body) != reference.size:
                raise IntegrityError(
                    "the size of the data is not the one in the history",
                    "Restore the original object.",
                    digest,
                )
            return body
        # Out here, so that the original does not hang on to it: it holds the request with its headers.
        raise StoreUnavailable(
            f"the large payload service cannot be reached: {why}", "Retry; check the URL.", digest
        )

    def _get(self, reference: _Reference) -> tuple[int, bytes]:
        """Return the status, and the body up to one byte more than it should have, to detect a longer one."""
        headers = {
            **self._headers,
            # The service refuses a request without these two.
            "Content-Type": "application/octet-stream",
            "X-Payload-Expected-Content-Length": str(reference.size),
        }
        connection = self._connect(self._host, timeout=self._timeout)
        try:
            connection.request("GET", f"{self._path}?{urlencode({'key': reference.key})}", headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read(reference.size + 1)
        finally:
            connection.close()


def _refused(status: int, digest: str) -> CoatcheckError:
    said = f"the large payload service answers {status}"
    if status == HTTPStatus.NOT_FOUND:
        return PayloadNotFound(said, "Restore the object in the service's bucket.", digest)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return StoreDenied(said, "Check the headers that DataDogReader sends.", digest)
    return StoreUnavailable(said, "Retry; look into the service's log.", digest)
