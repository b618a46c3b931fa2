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
    """When it was written, by the store's clock; time-zone aware. Some stores know it to the second only."""


@dataclass(frozen=True, slots=True)
class ExpiryRule:
    """What a bucket is to delete by itself."""

    prefix: str
    """What the keys begin with, below the store's own prefix."""
    days: int
    """From when it was written."""
    noncurrent: bool = False
    """Only versions that were deleted or replaced, and from then on."""


DEFAULT_LIMIT = 257 * 2**20
"""Bytes: a payload of 256 MiB, as a chain takes it where nothing else is set, and what is sealed around it."""


class Store(ABC):
    """Where offloaded objects live. Keys are relative; the store keeps them below its own prefix.

    Every method is safe to call from several tasks and from several event loops at once, and opens what it
    needs on first use. When a write returns, the object is durable: it survives the process and the machine.
    A write that fails or is cancelled leaves the object absent or whole, never partial; it may still take effect
    afterwards.

    Every method raises :class:`ConfigError` for a key that :func:`check_key` refuses and where the bucket, database
    or folder that was configured does not exist, and :class:`StoreUnavailable` or :class:`StoreDenied` where the
    store cannot or will not do it. A store may refuse a key below another one's (``a`` beside ``a/b``).
    """

    @abstractmethod
    async def create(self, key: str, data: bytes) -> bool:
        """Write the object if there is none. Of several writers at once exactly one gets ``True``.

        Returns:
            Whether it was written now; ``False`` leaves what is there untouched.
        """

    @abstractmethod
    async def replace(self, key: str, data: bytes) -> None:
        """Write the object whether or not there is one. Readers see the old bytes or the new, never a mix."""

    @abstractmethod
    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """Return the object's bytes; never hold many more than ``limit`` of them.

        Raises:
            PayloadNotFound: There is no such object.
            LimitExceeded: It has more than ``limit`` bytes (:func:`check_size`).
        """

    async def get_uncached(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """Return the bytes that are where writes go: never a copy's or a replica's. Raises as :meth:`get`.

        A copy of an object may be older than the object, and be there when the object is not.
        """
        return await self.get(key, limit)

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove the object; nothing happens if there is none."""

    async def delete_versions(self, prefix: str) -> None:  # noqa: B027 - most stores keep no versions
        """Delete for good what this store still keeps of objects below ``prefix`` that were deleted or replaced.

        Objects that are there stay, those that are written meanwhile as well.

        Raises:
            StoreDenied: The credentials may not see or delete them, or the server cannot promise that.
        """

    async def forget(self, key: str) -> None:  # noqa: B027 - most stores keep no copies
        """Drop copies of the object that this store made for itself: what they held was found to be damaged."""

    @abstractmethod
    def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """Every object whose key starts with ``prefix``: any string, not only whole segments.

        Page by page, so memory does not grow with their number. Each object that is there throughout the listing comes
        exactly once. Those whose keys differ only in the last segment come in the order of its characters, and each
        page says what was there after all before it had been said.
        """

    async def list_first(self, prefix: str, count: int) -> list[StoredObject]:
        """Return the first ``count`` objects whose keys start with ``prefix``, in the order of their keys' characters.

        Memory does not grow with the number of objects; nor do requests, where the store lists in this order by itself.
        """
        first: list[StoredObject] = []
        async for entry in self.list_objects(prefix):
            bisect.insort(first, entry, key=_key_of)
            del first[count:]
        return first

    async def close(self) -> None:  # noqa: B027 - most stores have nothing to let go of
        """Let go of connections. The store can be used again afterwards; it opens new ones."""


async def first_in_order(listing: AsyncIterator[StoredObject], count: int) -> list[StoredObject]:
    """Return the first ``count`` entries of a listing, for a store whose listings come in the order of keys."""
    first: list[StoredObject] = []
    if count > 0:
        async for entry in listing:
            first.append(entry)
            if len(first) == count:
                break
    return first


def check_size(size: int, limit: int, key: str) -> None:
    """Refuse an object that has more bytes than may be fetched.

    Raises:
        LimitExceeded: ``size`` is above ``limit``.
    """
    if size > limit:
        raise LimitExceeded(
            f"what is there has {size} bytes, and at most {limit} were expected",
            "Find out who wrote it. If it is a payload, raise Chain(max_payload=...).",
            key,
        )


def _key_of(entry: StoredObject) -> str:
    return entry.key


MAX_KEY_LENGTH = 512
"""Characters."""
MAX_SEGMENT_LENGTH = 200
"""Characters: what every file system takes as a name, with some to spare for a store's own marks."""
_SEGMENT = rf"[A-Za-z0-9_=-][A-Za-z0-9._=-]{{0,{MAX_SEGMENT_LENGTH - 1}}}"
_KEY = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*")


def check_key(key: str) -> str:
    """Return ``key`` if it is one that every store can keep, and that stays below the store's prefix.

    Segments of ``A-Z a-z 0-9 . _ = -`` that do not start with a dot, of at most :data:`MAX_SEGMENT_LENGTH`
    characters each, joined by single slashes; at most :data:`MAX_KEY_LENGTH` characters in all.

    Raises:
        ConfigError: Anything else: an absolute path, ``..``, an empty segment, a control character.
    """
    if len(key) > MAX_KEY_LENGTH or not _KEY.fullmatch(key):
        raise ConfigError(
            f"{key[:80]!r} is not an object key",
            "Keys are segments of letters, digits and . _ = - joined by single slashes.",
        )
    return key
