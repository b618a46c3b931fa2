"""Buckets that another tool wrote: read by any key, up to a size, and never written."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from coatcheck import GCSStore, S3Store
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.errors import LimitExceeded


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
        """Return the object at exactly ``key``, which the caller has checked.

        Raises:
            LimitExceeded: It is larger than the limit.
            CoatcheckError: As :meth:`Store.get`.
        """
        with _in_words_of_a_reader():
            return await (await self._bucket()).get(key, min(limit, self._limit), _name(key))


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
        """Return the object at ``key``, as :meth:`S3Bucket.get` does."""
        with _in_words_of_a_reader():
            return await self._bucket.get(key, min(limit, self._limit), _name(key))


@contextmanager
def _in_words_of_a_reader() -> Iterator[None]:
    try:
        yield
    except LimitExceeded as error:
        todo = "Raise the reader's max_payload if payloads of this size are expected."
        raise LimitExceeded(error.what, todo, error.object_id) from None


def _name(key: str) -> str:
    """Return the object's name for errors: its hash, the only part of the key that is checked to be harmless."""
    return key.rpartition("/")[2]
