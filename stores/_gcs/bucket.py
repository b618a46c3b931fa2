"""A store's requests to a bucket of Google's, each answer taken only for what was asked. Needs ``coatcheck[gcs]``."""

import base64
import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

import google_crc32c

from coatcheck.contracts.store import StoredObject, check_size
from coatcheck.google.client import ANSWER_LIMIT, GoogleClient
from coatcheck.runtime.http import Answer
from coatcheck.stores._gcs.errors import (
    damaged,
    foreign,
    is_already_there,
    is_from_google,
    no_bucket,
    no_object,
    said,
    typed,
    wrong_place,
)

_SUCCESS: Final = range(200, 300)
_DELETED: Final = {HTTPStatus.OK, HTTPStatus.NO_CONTENT}
_LISTING: Final = "storage#objects"
_PAGE: Final = 1000
_CRC32C: Final = "crc32c="


class GCSBucket:
    """Objects by their names in the bucket.

    Args:
        name: The bucket's name.
        client: Sends requests.
    """

    def __init__(self, name: str, client: GoogleClient) -> None:
        self._name = name
        self._client = client
        self._path = f"/storage/v1/b/{name}/o"

    async def put(self, name: str, data: bytes, key: str, *, create: bool) -> bool:
        """Write an object in one request; ``False`` if it was to be created and is there.

        The service compares the CRC32C before it keeps anything.
        """
        checksum = _checksum_of(data)
        about = json.dumps({"name": name, "contentType": "application/octet-stream", "crc32c": checksum})
        boundary = secrets.token_hex(16)
        start = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{about}\r\n"
            f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        )
        answer = await self._client.ask(
            "POST",
            f"/upload{self._path}",
            {"uploadType": "multipart"} | ({"ifGenerationMatch": "0"} if create else {}),
            key,
            headers={"Content-Type": f"multipart/related; boundary={boundary}"},
            body=(start.encode(), data, f"\r\n--{boundary}--\r\n".encode()),
        )
        if create and is_already_there(answer):
            return False
        if answer.status == HTTPStatus.NOT_FOUND:
            raise self._missing(answer, key)
        if answer.status not in _SUCCESS:
            raise typed(answer, self._name, key)
        kept = _fields(answer)
        if (kept.get("bucket"), kept.get("name"), kept.get("crc32c")) != (
            self._name,
            name,
            checksum,
        ):
            raise foreign(self._name, answer, key)
        return True

    async def get(self, name: str, limit: int, key: str) -> bytes:
        """Return the object's bytes, compared with the CRC32C that the service gives for them."""
        answer = await self._ask("GET", name, key, {"alt": "media"}, limit=limit)
        if answer.status == HTTPStatus.NOT_FOUND:
            await self._check_bucket(answer, key)
            raise no_object(self._name, key)
        check_size(answer.size, limit, key)
        if answer.status != HTTPStatus.OK or not is_from_google(answer):
            raise foreign(self._name, answer, key)
        if _stated_checksum(answer) not in {"", _checksum_of(answer.body)}:
            raise damaged(self._name, key)
        return answer.body

    async def delete(self, name: str, key: str, query: Mapping[str, str] = MappingProxyType({})) -> None:
        """Remove an object."""
        answer = await self._ask("DELETE", name, key, query)
        if answer.status in _DELETED and not is_from_google(answer):
            # A success without a word of Google's: only it knows the object's name well enough to miss it.
            again = await self._ask("GET", name, key, query)
            if again.status != HTTPStatus.NOT_FOUND or not said(again)[1]:
                raise foreign(self._name, answer, key)
        elif answer.status == HTTPStatus.NOT_FOUND:
            await self._check_bucket(answer, key)
        elif answer.status not in _DELETED:
            raise foreign(self._name, answer, key)

    async def delete_versions(self, prefix: str) -> None:
        """Delete for good every noncurrent version below ``prefix``."""
        query = {
            "prefix": prefix,
            "versions": "true",
            "maxResults": str(_PAGE),
            "fields": "kind,items(name,generation,timeDeleted),nextPageToken",
        }
        while True:
            page = await self._listing(query)
            for item in page.get("items", ()):
                if "timeDeleted" in item:
                    await self.delete(item["name"], item["name"], {"generation": str(item["generation"])})
            if not page.get("nextPageToken"):
                return
            query["pageToken"] = page["nextPageToken"]

    async def page(self, prefix: str, count: int, token: str) -> tuple[list[StoredObject], str]:
        """Return a page of a listing, and the token of the next; empty after the last."""
        query = {
            "prefix": prefix,
            "maxResults": str(count),
            "fields": "kind,items(name,size,timeCreated),nextPageToken",
        }
        if token:
            query["pageToken"] = token
        page = await self._listing(query)
        try:
            entries = [
                StoredObject(item["name"], int(item["size"]), datetime.fromisoformat(item["timeCreated"]))
                for item in page.get("items", ())
            ]
        except (ValueError, LookupError, TypeError, AttributeError):
            entries = None
        if entries is None:
            raise foreign(self._name, Answer(HTTPStatus.OK, {}, b"", 0), "")
        return entries, str(page.get("nextPageToken", ""))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _listing(self, query: Mapping[str, str]) -> dict[str, Any]:
        answer = await self._ask("GET", "", "", query)
        if answer.status == HTTPStatus.NOT_FOUND:
            raise self._missing(answer, "")
        page = _fields(answer)
        if page.get("kind") != _LISTING:
            raise foreign(self._name, answer, "")
        return page

    async def _ask(
        self,
        method: str,
        name: str,
        key: str,
        query: Mapping[str, str],
        *,
        limit: int = ANSWER_LIMIT,
    ) -> Answer:
        """Return the answer if it is a success or a 404."""
        path = f"{self._path}/{quote(name, safe='')}" if name else self._path
        answer = await self._client.ask(method, path, query, key, limit=limit)
        if answer.status not in _SUCCESS and answer.status != HTTPStatus.NOT_FOUND:
            raise typed(answer, self._name, key)
        return answer

    async def _check_bucket(self, answer: Answer, key: str) -> None:
        """Raise if it is the bucket that was not found. Asks only if ``answer``, a 404, does not say."""
        message = said(answer)[1]
        if not message:
            raise wrong_place(self._name, answer, key)
        if not message.startswith("No such object"):
            await self._listing({"maxResults": "1", "fields": "kind"})

    def _missing(self, answer: Answer, key: str) -> Exception:
        """Return the error for a 404 that is not about an object."""
        return no_bucket(self._name) if said(answer)[1] else wrong_place(self._name, answer, key)


def _checksum_of(data: bytes) -> str:
    """Return the CRC32C of an object as Google writes it."""
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def _stated_checksum(answer: Answer) -> str:
    """Return the CRC32C that the service gives for an object's bytes; empty if it gives none."""
    for name, value in answer.headers.items():
        for part in value.split(",") if name.lower() == "x-goog-hash" else ():
            if part.strip().startswith(_CRC32C):
                return part.strip().removeprefix(_CRC32C)
    return ""


def _fields(answer: Answer) -> dict[str, Any]:
    """Return the fields of a JSON object; none if the answer is not one, or was cut off."""
    try:
        fields = json.loads(answer.body) if answer.size == len(answer.body) else None
    except ValueError:
        fields = None
    return fields if isinstance(fields, dict) else {}
