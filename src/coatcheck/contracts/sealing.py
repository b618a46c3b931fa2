"""The interface of what seals payloads, and the tags of runs."""

from abc import ABC, abstractmethod
from typing import ClassVar

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

    def is_loaded(self, tenant: str, key_id: bytes | None) -> bool:  # noqa: ARG002 - most have nothing to load
        """Tell, without I/O, if a key need not be loaded now: then :meth:`load` or :meth:`load_primary` is not awaited.

        Args:
            tenant: Whose it is.
            key_id: Which; the primary where it is None.
        """
        return not self.loads_keys

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
