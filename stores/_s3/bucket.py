"""A store's requests to a bucket of S3, each answer taken only for what was asked. Needs ``coatcheck[s3]``."""

import asyncio
import base64
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from coatcheck.contracts.store import check_size
from coatcheck.runtime.http import Answer
from coatcheck.stores._s3.answers import (
    foreign,
    is_already_there,
    is_deleted,
    is_no_such_key,
    is_read,
    is_written,
    typed,
)
from coatcheck.stores._s3.client import S3Client
from coatcheck.stores._s3.identity import Site
from coatcheck.stores._s3.listing import PAGE_LIMIT, Page, page_of, query_of

_HASHED_INLINE: Final = 1 << 18
"""Bytes up to which SHA-256 takes less than a millisecond."""
_SUCCESS: Final = range(200, 300)


class S3Bucket:
    """Objects by their names in the bucket.

    Args:
        name: The bucket's name.
        site: Its location.
        client: Sends requests.
        kept_with: Headers of each write.
    """

    def __init__(self, name: str, site: Site, client: S3Client, kept_with: Mapping[str, str]) -> None:
        self._name = name
        self._region = site.region
        self.lists_in_order = site.is_amazon
        """True if a listing is promised to be in the order of keys."""
        self._client = client
        self._kept_with = {"Content-Type": "application/octet-stream", **kept_with}

    async def put(self, name: str, data: bytes, key: str, *, create: bool) -> bool:
        """Write an object; ``False`` if it was to be created and is there."""
        digest = sha256(data) if len(data) <= _HASHED_INLINE else await asyncio.to_thread(sha256, data)
        checksum = base64.b64encode(digest.digest()).decode()
        headers = {**self._kept_with, "x-amz-checksum-sha256": checksum}
        if create:
            headers["If-None-Match"] = "*"
        answer = await self._client.ask(
            "PUT", name, key, headers=headers, body=data, digest=digest.hexdigest()
        )
        if is_written(answer, data, checksum):
            return True
        if create and is_already_there(answer):
            return False
        raise self._failure(answer, key)

    async def get(self, name: str, limit: int, key: str) -> bytes:
        """Return the object's bytes."""
        answer = await self._client.ask("GET", name, key, limit=limit)
        if answer.status in _SUCCESS:
            check_size(answer.size, limit, key)
        if not is_read(answer):
            raise self._failure(answer, key)
        return answer.body

    async def delete(self, name: str, key: str) -> None:
        """Remove an object."""
        answer = await self._client.ask("DELETE", name, key)
        deleted = is_deleted(answer)
        if deleted is None:
            # A success without a word of S3's: only it knows the object's name well enough to miss it.
            deleted = is_no_such_key(await self._client.ask("GET", name, key))
        if not deleted:
            raise self._failure(answer, key)

    async def page(self, prefix: str, count: int, token: str) -> Page:
        """Return a page of a listing."""
        answer = await self._client.ask("GET", "", "", query=query_of(prefix, count, token), limit=PAGE_LIMIT)
        page = page_of(answer, self._name, prefix)
        if page is None:
            raise self._failure(answer, "")
        return page

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _failure(self, answer: Answer, key: str) -> Exception:
        if answer.status in _SUCCESS:
            return foreign(self._name, answer, key)
        return typed(answer, self._name, self._region, key)
