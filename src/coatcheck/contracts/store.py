"""The interface of a store."""

import bisect
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from coatcheck.errors import ConfigError, LimitExceeded


class StoredObject(NamedTuple):
    """One entry of a listing."""

    key: str
    size: int
    """Bytes."""
    modified: datetime
    """Time of writing by the store's clock; time-zone aware. Some stores know it to the second only."""


@dataclass(frozen=True, slots=True)
class ExpiryRule:
    """A rule by which a bucket deletes objects itself."""

    prefix: str
    """Start of the keys, below the store's own prefix."""
    days: int
    """Age in days, counted from when the object was written."""
    noncurrent: bool = False
    """True for versions only: counted from when the object was deleted or replaced."""


DEFAULT_LIMIT = 257 * 2**20
"""Bytes: a payload of 256 MiB, a chain's default limit, and what sealing adds."""


class Store(ABC):
    """A place for offloaded objects. Keys are relative; the store keeps them below its own prefix.

    All methods may be called from several tasks and event loops at once. They open connections on first use. When a write
    returns, the object is durable: it survives the process and the machine. A write that fails or is cancelled leaves
    the object absent or whole, never partial; it may still take effect afterwards.

    All methods raise :class:`ConfigError` for a key that :func:`check_key` refuses, and if the configured bucket,
    database or folder does not exist; :class:`StoreUnavailable` or :class:`StoreDenied` if the store cannot or will not
    do it. A store may refuse a key below another one (``a/b`` beside ``a``).
    """

    @abstractmethod
    async def create(self, key: str, data: bytes) -> bool:
        """Write the object if it does not exist. Of several concurrent writers exactly one gets ``True``.

        Returns:
            True if it was written now; False if it exists, and is left unchanged.
        """

    @abstractmethod
    async def replace(self, key: str, data: bytes) -> None:
        """Write the object whether or not it exists. Readers see the old bytes or the new, never a mix."""

    @abstractmethod
    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """Return the object's bytes.

        Args:
            key: The object's key.
            limit: Bytes. Never read many more than this into memory.

        Raises:
            PayloadNotFound: The object does not exist.
            LimitExceeded: It has more than ``limit`` bytes (:func:`check_size`).
        """

    async def get_uncached(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """Return the object's bytes from the place that writes go to, never from a copy or a replica. As :meth:`get`.

        A copy may be older than the object, and may exist when the object does not.
        """
        return await self.get(key, limit)

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Delete the object. Does nothing if it does not exist."""

    async def delete_versions(self, prefix: str) -> None:  # noqa: B027 - most stores keep no versions
        """Delete for good all versions of deleted and replaced objects below ``prefix``.

        Current objects stay, including those written meanwhile.

        Raises:
            StoreDenied: The credentials may not list or delete versions, or the server cannot guarantee it.
        """

    async def forget(self, key: str) -> None:  # noqa: B027 - most stores keep no copies
        """Drop the copies of the object that this store made for itself, since they may be damaged or out of date."""

    @abstractmethod
    def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """Yield all objects whose keys start with ``prefix``: any string, not only whole segments.

        Lists page by page, so memory does not grow with their number. An object that exists throughout the listing comes
        exactly once. Keys that differ only in the last segment come in character order, and each page shows the store as
        it was after the page before had been returned.
        """

    async def list_first(self, prefix: str, count: int) -> list[StoredObject]:
        """Return the first ``count`` objects whose keys start with ``prefix``, in character order of their keys.

        Memory does not grow with the number of objects; nor do requests, if the store itself lists in this order.
        """
        first: list[StoredObject] = []
        async for entry in self.list_objects(prefix):
            bisect.insort(first, entry, key=_key_of)
            del first[count:]
        return first

    async def close(self) -> None:  # noqa: B027 - most stores have nothing to close
        """Close connections. The store can be used again; it opens new ones."""


async def first_in_order(listing: AsyncIterator[StoredObject], count: int) -> list[StoredObject]:
    """Return the first ``count`` entries of a listing that comes in key order."""
    first: list[StoredObject] = []
    if count > 0:
        async for entry in listing:
            first.append(entry)
            if len(first) == count:
                break
    return first


def check_size(size: int, limit: int, key: str) -> None:
    """Refuse an object that is larger than it may be.

    Args:
        size: Bytes of the object.
        limit: Bytes that it may have.
        key: The object's key, for the error.

    Raises:
        LimitExceeded: ``size`` is above ``limit``.
    """
    if size > limit:
        raise LimitExceeded(
            f"the stored object has {size} bytes, at most {limit} were expected",
            "Find out who wrote it. If it is a payload, raise Chain(max_payload=...).",
            key,
        )


def _key_of(entry: StoredObject) -> str:
    return entry.key


MAX_KEY_LENGTH = 512
"""Characters."""
MAX_SEGMENT_LENGTH = 200
"""Characters: the length of a name that every file system accepts, with room for a store's own suffixes."""
_SEGMENT = rf"[A-Za-z0-9_=-][A-Za-z0-9._=-]{{0,{MAX_SEGMENT_LENGTH - 1}}}"
_KEY = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*")


def check_key(key: str) -> str:
    """Return ``key`` if every store can keep it and it stays below the store's prefix.

    A key has segments of ``A-Z a-z 0-9 . _ = -`` that do not start with a dot, of at most :data:`MAX_SEGMENT_LENGTH`
    characters each, joined by single slashes; at most :data:`MAX_KEY_LENGTH` characters in all.

    Raises:
        ConfigError: It is anything else: an absolute path, ``..``, an empty segment, a control character.
    """
    if len(key) > MAX_KEY_LENGTH or not _KEY.fullmatch(key):
        raise ConfigError(
            f"{key[:80]!r} is not an object key",
            "Use segments of letters, digits and . _ = - joined by single slashes.",
        )
    return key
