"""Buckets that another tool wrote: read by any key, up to a size, and never written."""

import json
from typing import Any

from coatcheck import GCSStore, S3Store
from coatcheck.contracts import DEFAULT_LIMIT
from coatcheck.errors import PayloadNotFound
from coatcheck.integrations.temporal.read_also import too_large

_NOT_FOUND = 404


class S3Bucket(S3Store):
    """An S3 bucket whose keys are not ours.

    Args:
        bucket: Its name.
        limit: Bytes; no larger object is read.
        **settings: As for :class:`~coatcheck.S3Store`.
    """

    def __init__(self, bucket: str, limit: int, **settings: Any) -> None:
        super().__init__(bucket, **settings)
        self._limit = limit

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """The object at exactly ``key``, which a caller has checked.

        Raises:
            LimitExceeded: It is larger than the limit; no byte of it is read then.
            CoatcheckError: As :meth:`Store.get`.
        """
        name = _name(key)
        opened = await self._opened()
        answer = await self._ask(opened, lambda: opened.client.get_async(key), name)
        size = answer.meta["size"]
        if size > min(limit, self._limit):
            raise too_large(size, min(limit, self._limit), name)
        data = await self._ask(opened, answer.bytes_async, name, size)
        return data.to_bytes()


class GCSBucket(GCSStore):
    """A Google Cloud Storage bucket whose names are not ours.

    Args:
        bucket: Its name.
        limit: Bytes; no larger object is read.
        **settings: As for :class:`~coatcheck.GCSStore`.
    """

    def __init__(self, bucket: str, limit: int, **settings: Any) -> None:
        super().__init__(bucket, **settings)
        self._limit = limit

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """As :meth:`S3Bucket.get`. Two requests: the first asks for the size."""
        size = int(json.loads(await self._read(key, {"fields": "size"}))["size"])
        if size > min(limit, self._limit):
            raise too_large(size, min(limit, self._limit), _name(key))
        return await self._read(key, {"alt": "media"})

    async def _read(self, key: str, query: dict[str, str]) -> bytes:
        answer = await self._ask("GET", key, query, _name(key))
        if answer.status == _NOT_FOUND:
            await self._check_bucket(answer)
            raise PayloadNotFound(
                f"there is no such object in bucket {self.bucket!r}",
                "Restore a version or the soft-deleted object, and check the bucket's lifecycle rules.",
                _name(key),
            )
        return answer.body


def _name(key: str) -> str:
    """What errors call the object: its hash, which is all of the key that is checked to be harmless."""
    return key.rpartition("/")[2]
