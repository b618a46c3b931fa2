"""The interface of sealings, and the tags of runs."""

from abc import ABC, abstractmethod
from typing import ClassVar

from coatcheck.scope import Scope, engine_code

TENANT_SCOPE_TAG = bytes(16)
"""The run tag of payloads that belong to the tenant scope (``Scope.run is None``)."""
SERIES_TAG_LENGTH = 8
"""Bytes at the start of a run tag that are the same for all runs of a series."""
RUN_TAG_LENGTH = 16
"""Bytes."""


def joined_run_tag(engine: str, run_digest: bytes, series_digest: bytes = b"") -> bytes:
    """Return a run tag: the engine's code, 7 bytes of the series' digest if there is one, then the run's digest.

    So a listing of a store shows which scopes belong to which engine.

    Args:
        engine: The engine's name, as in :class:`~coatcheck.Scope`.
        run_digest: At least 15 bytes that stand for the run.
        series_digest: At least 7 bytes that stand for the series; empty if there is none.
    """
    series = series_digest[: SERIES_TAG_LENGTH - 1]
    return (bytes((engine_code(engine),)) + series + run_digest)[:RUN_TAG_LENGTH]


class Sealer(ABC):
    """Names, seals and opens the payloads of one scope under one key. Pure, synchronous, thread-safe."""

    tenant_tag: bytes
    """16 bytes that stand for the tenant in object keys; reveal nothing about its name."""

    @abstractmethod
    def object_id(self, payload: bytes) -> bytes:
        """Return 32 bytes that identify ``payload`` within the scope. The same payload always has the same id."""

    @abstractmethod
    def seal(self, header: bytes, context: bytes, body: bytes) -> bytes:
        """Return an envelope: ``header``, then ``body`` sealed.

        Args:
            header: The header of the envelope; authenticated.
            context: More bytes to authenticate that are not in the envelope.
            body: The payload after the codecs.
        """

    @abstractmethod
    def open(self, header: bytes, context: bytes, sealed: memoryview) -> bytes | memoryview:
        """Return the ``body`` that :meth:`seal` received with the same header and context.

        Args:
            header: The header of the envelope.
            context: The same bytes as in :meth:`seal`.
            sealed: The envelope after the header.

        Raises:
            IntegrityError: Any of them differs from what was sealed.
        """

    def check(self, payload: bytes, object_id: bytes) -> None:  # noqa: B027 - what is sealed with a key needs no more
        """Check that a payload has this object id, in a suite without keys, which opens what anyone can write.

        Raises:
            IntegrityError: The payload has another id.
        """

    @abstractmethod
    def mac(self, reference: bytes) -> bytes:
        """Return 16 bytes that authenticate a reference of this tenant. Compare them in constant time."""


class Sealing(ABC):
    """A suite with its keys: returns the :class:`Sealer` of a scope."""

    suite: ClassVar[int]
    """The suite's number in every header (``docs/wire-format.md``)."""
    accept_plain: bool = True
    """True if the chain accepts payloads that no chain wrote (:meth:`coatcheck.Chain.check_plain`). Anyone can write them."""
    accept_unsealed: bool = False
    """True if the chain also opens suite 0, which anyone can write."""

    loads_keys: bool = False
    """True if a ``load`` method has to be awaited before anything is sealed or opened for a tenant."""

    @abstractmethod
    def key_ids(self, tenant: str) -> tuple[bytes, ...]:
        """Return the ids, 4 bytes each, of all keys that payloads of the tenant may be sealed under, the primary's first.

        Raises:
            KeyUnavailable: They are not loaded.
        """

    def primary_key_id(self, tenant: str) -> bytes:
        """Return the id, 4 bytes, of the key that seals new payloads.

        Raises:
            KeyUnavailable: It is not loaded.
        """
        return self.key_ids(tenant)[0]

    def is_loaded(self, tenant: str, key_id: bytes | None) -> bool:  # noqa: ARG002 - most have nothing to load
        """Return True if a key need not be loaded now, so that the ``load`` methods are not awaited. Does no I/O.

        Args:
            tenant: The tenant's name.
            key_id: The key's id; None for the primary.
        """
        return not self.loads_keys

    async def load_primary(self, tenant: str) -> None:  # noqa: B027 - most have nothing to load
        """Load the key that seals the tenant's new payloads.

        Raises:
            KeyUnavailable: It cannot be loaded now.
            StoreError: The store with the keys cannot or will not return it.
        """

    async def load(self, tenant: str, key_id: bytes) -> None:  # noqa: B027 - most have nothing to load
        """Load one key of the tenant, to open payloads. Raises as :meth:`load_primary`."""

    async def load_all(self, tenant: str) -> None:  # noqa: B027 - most have nothing to load
        """Load all keys of the tenant, to open payloads. Raises as :meth:`load_primary`."""

    async def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Close connections and drop loaded keys. The sealing can be used again."""

    @abstractmethod
    def run_tag(self, scope: Scope, key_id: bytes) -> bytes:
        """Return 16 bytes that stand for the run; :data:`TENANT_SCOPE_TAG` for the tenant scope.

        The first :data:`SERIES_TAG_LENGTH` of them stand for the series, if there is one.

        Raises:
            KeyUnavailable: No key has this id.
        """

    @abstractmethod
    def sealer(self, tenant: str, run_tag: bytes, key_id: bytes) -> Sealer:
        """Return the sealer of a scope under the key with this id.

        Args:
            tenant: The tenant's name.
            run_tag: The tag of the run, as from :meth:`run_tag`.
            key_id: The key's id, 4 bytes.

        Raises:
            KeyUnavailable: No key has this id.
        """
