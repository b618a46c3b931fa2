"""Objects in a Google Cloud Storage bucket."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from coatcheck.contracts import (
    DEFAULT_LIMIT,
    MAX_KEY_LENGTH,
    Store,
    StoredObject,
    check_key,
    check_size,
    first_in_order,
)
from coatcheck.errors import ConfigError, StoreUnavailable
from coatcheck.stores._gcs_errors import Answer, is_already_there, no_bucket, no_object, typed

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

_ENDPOINT = "https://storage.googleapis.com"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_GCS_NAME_LENGTH = 1024
_PAGE = 1000
_DONE = {HTTPStatus.OK, HTTPStatus.NO_CONTENT}


class GCSStore(Store):
    """Keeps objects in a Google Cloud Storage bucket, below ``prefix``. Needs ``pip install 'coatcheck[gcs]'``.

    google-auth finds and renews the credentials; requests go to the JSON API. Nothing is looked up and no
    connection is opened before the first request.

    Each write is one request, with ``ifGenerationMatch=0`` for a create, and carries the CRC32C of its bytes,
    which the service checks before it keeps anything. No failed write is retried here.

    The credentials need ``storage.objects.create``, ``get``, ``delete`` and ``list`` on the bucket; without the
    last, the service calls a missing object a denied one. Google takes about one write a second to the same
    key and asks the others to come back later.

    Args:
        bucket: Its name; it must exist.
        prefix: Segments that all keys are kept below, such as ``"prod/payloads"``.
        credentials: Of google-auth. Defaults to application default credentials.
        project: The project that requests are billed to. Defaults to that of the credentials.
        endpoint_url: Another address of the service; with ``http://`` an emulator, to which no credentials are
            sent unless they are given here. Defaults to ``https://storage.googleapis.com``.
        connections: The most requests under way at once in each event loop; others wait in line.
        timeout: Seconds that one request may take, not counting the wait in line.

    Raises:
        ConfigError: An argument is malformed, or a package is not installed.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        credentials: "Credentials | None" = None,
        project: str | None = None,
        endpoint_url: str | None = None,
        connections: int = 64,
        timeout: float = 120.0,
    ) -> None:
        try:
            from coatcheck.stores._gcs_client import GCSClient  # noqa: PLC0415 - optional
        except ImportError as missing:
            raise ConfigError(
                f"{missing.name} is not installed", "Run: pip install 'coatcheck[gcs]'"
            ) from missing
        if not _BUCKET.fullmatch(bucket):
            raise ConfigError(
                f"{bucket[:80]!r} is not a bucket's name", "Pass the name alone, without gs://."
            )
        if connections < 1:
            raise ConfigError("a store needs at least one connection", "Pass connections=1 or more.")
        self.bucket = bucket
        self.prefix = f"{check_key(prefix.removesuffix('/'))}/" if prefix else ""
        if len(self.prefix) + MAX_KEY_LENGTH > _GCS_NAME_LENGTH:
            raise ConfigError(
                f"a prefix of {len(self.prefix)} characters leaves too little of the {_GCS_NAME_LENGTH} for keys",
                f"Use at most {_GCS_NAME_LENGTH - MAX_KEY_LENGTH} characters.",
            )
        endpoint = _endpoint(endpoint_url or _ENDPOINT)
        self._client = GCSClient(endpoint, credentials, project, connections, timeout)

    def __repr__(self) -> str:
        return f"GCSStore({self.bucket!r}, {self.prefix!r})"

    async def create(self, key: str, data: bytes) -> bool:
        """See :meth:`Store.create`."""
        answer = await self._put(key, data, {"ifGenerationMatch": "0"})
        if is_already_there(answer):
            return False
        self._expect_done(answer, key)
        return True

    async def replace(self, key: str, data: bytes) -> None:
        """See :meth:`Store.replace`."""
        self._expect_done(await self._put(key, data, {}), key)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """See :meth:`Store.get`."""
        answer = await self._ask("GET", self._name(key), {"alt": "media"}, key)
        if answer.status == HTTPStatus.NOT_FOUND:
            await self._check_bucket(answer)
            raise no_object(self.bucket, key)
        check_size(len(answer.body), limit, key)
        return answer.body

    async def delete(self, key: str) -> None:
        """See :meth:`Store.delete`."""
        answer = await self._ask("DELETE", self._name(key), {}, key)
        if answer.status == HTTPStatus.NOT_FOUND:
            await self._check_bucket(answer)

    async def delete_versions(self, prefix: str) -> None:
        """See :meth:`Store.delete_versions`. Soft delete, where a bucket has it, keeps its own copies for its time."""
        query = {
            "prefix": self.prefix + prefix,
            "versions": "true",
            "maxResults": str(_PAGE),
            "fields": "items(name,generation,timeDeleted),nextPageToken",
        }
        while True:
            answer = await self._ask("GET", "", query, "")
            if answer.status == HTTPStatus.NOT_FOUND:
                raise no_bucket(self.bucket)
            page = _json(answer)
            for item in page.get("items", ()):
                if "timeDeleted" in item:
                    await self._ask(
                        "DELETE", item["name"], {"generation": str(item["generation"])}, item["name"]
                    )
            token = page.get("nextPageToken")
            if not token:
                return
            query["pageToken"] = token

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """See :meth:`Store.list_objects`. One request for each 1,000 objects, in the order of their keys."""
        if not (prefix.isascii() and prefix.isprintable()):
            return  # No key starts like this.
        query = {
            "prefix": self.prefix + prefix,
            "maxResults": str(_PAGE),
            "fields": "items(name,size,timeCreated),nextPageToken",
        }
        while True:
            answer = await self._ask("GET", "", query, "")
            if answer.status == HTTPStatus.NOT_FOUND:
                raise no_bucket(self.bucket)
            page, token = _page(answer)
            for entry in page:
                yield StoredObject(entry.key.removeprefix(self.prefix), entry.size, entry.modified)
            if not token:
                return
            query["pageToken"] = token

    async def list_first(self, prefix: str, count: int) -> list[StoredObject]:
        """See :meth:`Store.list_first`. One request for each 1,000 objects."""
        return await first_in_order(self.list_objects(prefix), count)

    async def close(self) -> None:
        """See :meth:`Store.close`."""
        await self._client.close()

    async def _put(self, key: str, data: bytes, condition: Mapping[str, str]) -> Answer:
        path = f"/upload/storage/v1/b/{self.bucket}/o"
        answer = await self._client.upload(path, condition, key, name=self._name(key), data=data)
        if answer.status == HTTPStatus.NOT_FOUND:
            raise no_bucket(self.bucket)
        return answer

    async def _ask(self, method: str, name: str, query: Mapping[str, str], key: str) -> Answer:
        """The answer of a success, or a 404."""
        path = f"/storage/v1/b/{self.bucket}/o"
        if name:
            path += f"/{quote(name, safe='')}"
        answer = await self._client.ask(method, path, query, key)
        if answer.status != HTTPStatus.NOT_FOUND:
            self._expect_done(answer, key)
        return answer

    def _expect_done(self, answer: Answer, key: str) -> None:
        if answer.status not in _DONE:
            raise typed(answer, self.bucket, key)

    async def _check_bucket(self, answer: Answer) -> None:
        """Raise if it is the bucket that was not found. Asks only if ``answer``, a 404, does not say."""
        if answer.said()[1].startswith("No such object"):
            return
        listed = await self._client.ask(
            "GET", f"/storage/v1/b/{self.bucket}/o", {"maxResults": "1", "fields": "kind"}, ""
        )
        if listed.status == HTTPStatus.NOT_FOUND:
            raise no_bucket(self.bucket)

    def _name(self, key: str) -> str:
        return self.prefix + check_key(key)


def _page(answer: Answer) -> tuple[list[StoredObject], str]:
    """The objects of a page of a listing, and the token of the next; empty after the last."""
    page = _json(answer)
    try:
        entries = [
            StoredObject(item["name"], int(item["size"]), datetime.fromisoformat(item["timeCreated"]))
            for item in page.get("items", ())
        ]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _unreadable() from error
    return entries, str(page.get("nextPageToken", ""))


def _json(answer: Answer) -> dict[str, Any]:
    try:
        page = json.loads(answer.body)
    except ValueError as error:
        raise _unreadable() from error
    if not isinstance(page, dict):
        raise _unreadable()
    return page


def _unreadable() -> StoreUnavailable:
    return StoreUnavailable("the service answered with a listing that cannot be read", "Check the endpoint.")


def _endpoint(url: str) -> str:
    """The address that paths are put behind."""
    address = urlsplit(url)
    if address.scheme not in {"http", "https"} or not address.hostname or address.query or address.username:
        raise ConfigError(
            "the endpoint is not an http or https address", "Give scheme, host and port: https://host:443."
        )
    return url.rstrip("/")
