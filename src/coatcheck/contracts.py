"""What a codec, a sealing and a store promise. Implementations stand in codecs/ and stores/."""

import bisect
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, NamedTuple

from coatcheck.errors import ConfigError, LimitExceeded
from coatcheck.scope import Scope, engine_code

TENANT_SCOPE_TAG = bytes(16)
"""The run tag of payloads that belong to the tenant scope (``Scope.run is None``)."""
SERIES_TAG_LENGTH = 8
"""Bytes at the start of a run tag that all runs of a series have in common."""
RUN_TAG_LENGTH = 16


def joined_run_tag(engine: str, run_digest: bytes, series_digest: bytes = b"") -> bytes:
    """Return a run tag: the engine's code, 7 bytes of the series' digest if there is one, and the run's.

    Whoever lists a store can so tell the scopes of one engine from all others.
    """
    series = series_digest[: SERIES_TAG_LENGTH - 1]
    return (bytes((engine_code(engine),)) + series + run_digest)[:RUN_TAG_LENGTH]


class Codec(ABC):
    """A reversible transform of bytes. Pure and synchronous: the chain calls it off the event loop.

    The law of compatibility: two codecs share a ``name`` if and only if each can decode what the other
    encodes. The name is written into every envelope; it is all that the decoder is told.
    Instances must be safe to use from several threads at once.
    """

    name: ClassVar[str]
    """1 to 32 characters of ``a-z 0-9 -``, registered in ``docs/wire-format.md`` if it is ours."""

    @abstractmethod
    def encode(self, data: bytes) -> bytes | None:
        """Transform ``data``; ``None`` where that gains nothing, and the step is then left out."""

    @abstractmethod
    def decode(self, data: bytes | memoryview, limit: int) -> bytes:
        """Undo :meth:`encode`, never holding more than ``limit`` bytes of output.

        Raises:
            LimitExceeded: There would be more than ``limit`` bytes.
            FormatError: ``data`` is not what this codec writes.
        """


class DeltaCodec(Codec):
    """A codec that can also express a payload by its difference from an earlier one of the same scope.

    A chain uses it so if it is the first of its codecs: only there it meets payloads as they are.
    """

    delta_name: ClassVar[str]
    """The name of the second form in envelopes; :attr:`Codec.name` and its law apply to it as well."""

    @abstractmethod
    def encode_delta(self, data: bytes, base: bytes) -> bytes | None:
        """``data`` as a difference from ``base``; ``None`` where that cannot be done."""

    @abstractmethod
    def decode_delta(self, data: bytes | memoryview, base: bytes, limit: int) -> bytes:
        """Undo :meth:`encode_delta` with the same ``base``; raises as :meth:`Codec.decode`."""

    def decode_deltas(
        self, whole: bytes | memoryview, deltas: Sequence[bytes | memoryview], limits: Sequence[int]
    ) -> bytes:
        """The last of several payloads: one that was encoded by itself, then deltas, each against the one before.

        For codecs that save something if they do it in one go.

        Args:
            whole: What :meth:`encode` gave.
            deltas: What :meth:`encode_delta` gave, in order.
            limits: Of each payload, that of ``whole`` first: one more than there are deltas.

        Raises:
            CoatcheckError: As :meth:`decode_delta`, without saying where.
        """
        payload = self.decode(whole, limits[0])
        for delta, limit in zip(deltas, limits[1:], strict=True):
            payload = self.decode_delta(delta, payload, limit)
        return payload


class Sealer(ABC):
    """Names, seals and opens the payloads of one scope under one key. Pure, synchronous, thread-safe."""

    tenant_tag: bytes
    """16 bytes that stand for the tenant in object keys; say nothing about its name."""

    @abstractmethod
    def object_id(self, payload: bytes) -> bytes:
        """32 bytes that name ``payload`` within the scope: the same payload has the same id for ever."""

    @abstractmethod
    def seal(self, header: bytes, context: bytes, body: bytes) -> bytes:
        """The whole envelope: ``header``, then ``body`` sealed, header and context bound to it."""

    @abstractmethod
    def open(self, header: bytes, context: bytes, sealed: memoryview) -> bytes | memoryview:
        """The ``body`` that :meth:`seal` was given with the same header and context.

        Args:
            header: The header of the envelope.
            context: What else was bound.
            sealed: What follows the header in the envelope.

        Raises:
            IntegrityError: Anything at all differs from what was sealed.
        """

    def check(self, payload: bytes, object_id: bytes) -> None:  # noqa: B027 - what is sealed with a key needs no more
        """Refuse what is not the payload that the object is named by, where :meth:`open` takes what anyone can write.

        Raises:
            IntegrityError: It is another one.
        """

    @abstractmethod
    def mac(self, reference: bytes) -> bytes:
        """16 bytes that authenticate a reference of this tenant; compare in constant time."""


class Sealing(ABC):
    """A suite together with its keys: hands out the :class:`Sealer` of a scope."""

    suite: ClassVar[int]
    """The suite's number in every header (``docs/wire-format.md``)."""
    accept_plain: bool = True
    """True if the chain takes what no chain wrote, which anyone can write (:meth:`coatcheck.Chain.check_plain`)."""
    accept_unsealed: bool = False
    """Whether the chain also opens suite 0, which anyone can write."""

    loads_keys: bool = False
    """Whether one of the ``load`` methods has to be awaited before anything is sealed or opened for a tenant."""

    @abstractmethod
    def key_ids(self, tenant: str) -> tuple[bytes, ...]:
        """4 bytes each: every key that something of the tenant may be sealed under, the primary's first.

        Raises:
            KeyUnavailable: They are not loaded.
        """

    def primary_key_id(self, tenant: str) -> bytes:
        """4 bytes: the key that new payloads are sealed under.

        Raises:
            KeyUnavailable: It is not loaded.
        """
        return self.key_ids(tenant)[0]

    async def load_primary(self, tenant: str) -> None:  # noqa: B027 - most have nothing to load
        """Get ready to seal for the tenant.

        Raises:
            KeyUnavailable: There is no key to be had.
            StoreError: The store that keys are kept in cannot or will not give one.
        """

    async def load(self, tenant: str, key_id: bytes) -> None:  # noqa: B027 - most have nothing to load
        """Get ready to open what was sealed for the tenant under this key; raises as above."""

    async def load_all(self, tenant: str) -> None:  # noqa: B027 - most have nothing to load
        """Get ready to open what was sealed for the tenant under any of its keys; raises as above."""

    async def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Let go of connections and of keys that were loaded. It can be used again."""

    @abstractmethod
    def run_tag(self, scope: Scope, key_id: bytes) -> bytes:
        """16 bytes that stand for the run; :data:`TENANT_SCOPE_TAG` for the tenant scope.

        The first :data:`SERIES_TAG_LENGTH` of them stand for the series, where there is one.

        Raises:
            KeyUnavailable: No key has this id.
        """

    @abstractmethod
    def sealer(self, tenant: str, run_tag: bytes, key_id: bytes) -> Sealer:
        """The sealer of a scope under the key with this id.

        Raises:
            KeyUnavailable: No key has this id.
        """


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
