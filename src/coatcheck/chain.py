"""The one path that every payload takes, on its way into a journal and back."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from coatcheck.contracts.codec import Codec
from coatcheck.contracts.sealing import Sealing
from coatcheck.contracts.store import Store
from coatcheck.errors import ConfigError, IntegrityError, KeyUnavailable
from coatcheck.format.codec_pipeline import CodecPipeline
from coatcheck.format.envelope import Envelope
from coatcheck.format.reference import Reference
from coatcheck.format.suites import SealingPolicy
from coatcheck.format.wire import is_ours, is_reference
from coatcheck.keys.lease import KeyLease, current_lease
from coatcheck.offload import MAX_PAYLOAD, Offload
from coatcheck.pipeline.decode import Reader
from coatcheck.pipeline.encode import Writer
from coatcheck.runtime.concurrency import DECODE_INLINE_UP_TO, ENCODE_INLINE_UP_TO, all_at_once, off_loop
from coatcheck.scope import Scope
from coatcheck.storage.cache import PROCESS_CACHE, PayloadCache
from coatcheck.storage.records import Ledger
from coatcheck.storage.scoped_store import ScopedStore
from coatcheck.telemetry import counting_errors

_REPLAYING = 1024
"""Scopes that are remembered from when they were said to be replayed until their tenant's key is loaded."""


class Chain:
    """Codecs in order, then at most one sealing, then at most one :class:`Offload`.

    ``Chain(Zstd(), Encrypt(keyring), Offload(store))`` compresses, encrypts, and keeps what is still large in
    the store. The same chain object serves any number of engines, tasks, threads and event loops at once.

    Args:
        *steps: The steps, in the order in which a payload passes them.
        decode_only: Let payloads through unchanged on the way in, and still read everything on the way back:
            the first step of a roll-out, and the way to roll back.
        max_payload: Bytes. No payload above it is taken or given back, whatever an envelope says of itself.
        cache: Of opened payloads; all chains of a process share one of 256 MiB unless they are given another.

    Raises:
        ConfigError: The steps are of the wrong kind, or in an order that cannot work.
    """

    def __init__(
        self,
        *steps: Codec | Sealing | Offload,
        decode_only: bool = False,
        max_payload: int = MAX_PAYLOAD,
        cache: PayloadCache = PROCESS_CACHE,
    ) -> None:
        codecs, sealing, offload = _sort_steps(steps)
        if decode_only and sealing is not None and not sealing.accept_plain:
            raise ConfigError(
                "a decode_only chain leaves payloads in the clear, and accept_plain=False would refuse them",
                "Set accept_plain=True everywhere before rolling back.",
            )
        self.cache = cache
        self._steps = steps
        self.decode_only = decode_only
        self.max_payload = max_payload
        self._suites = SealingPolicy(sealing)
        transforms = CodecPipeline(codecs, max_payload)
        self._storerooms: dict[str, ScopedStore] = {}
        if offload is not None:
            for alias, store in offload.stores.items():
                self._storerooms[alias] = ScopedStore(
                    alias, store, offload.deadline, cache, transforms, max_payload=max_payload
                )
        self.writer = Writer(
            self._suites,
            transforms,
            self._storerooms[offload.alias] if offload is not None else None,
            offload.over if offload is not None else 0,
            max_payload,
        )
        self._replaying: OrderedDict[Scope, None] = OrderedDict()
        self.reader = Reader(self._suites, transforms, self._storerooms, max_payload)

    @classmethod
    def from_settings(cls) -> "Chain":
        """The chain that ``coatcheck.toml`` and the ``COATCHECK_*`` variables describe (:mod:`coatcheck.settings.model`).

        Raises:
            ConfigError: A setting is wrong, or there is no key where encryption is on, as it is by default.
        """
        from coatcheck.settings.model import Settings  # noqa: PLC0415 - settings build a chain: they import this module

        return Settings.load().chain()

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self._steps))})"

    @property
    def encrypts(self) -> bool:
        """Whether nothing that passes the chain can be read without a key."""
        return self._suites.encrypts and not self.decode_only

    @property
    def loads_keys(self) -> bool:
        """Tell if keys have to be loaded, so that sealing can fail for the want of one."""
        return self._suites.loads_keys and not self.decode_only

    @property
    def sealings(self) -> tuple[Sealing, ...]:
        """What something that the chain opens may be sealed with, the one for what is new first."""
        return self._suites.accepted

    @property
    def store(self) -> Store:
        """Where new objects are written.

        Raises:
            ConfigError: The chain has no :class:`Offload`.
        """
        return self.storerooms[0].access.store

    @property
    def storerooms(self) -> tuple[ScopedStore, ...]:
        """The stores that payloads are read from, the one for new objects first; raises as :attr:`store`."""
        if not self._storerooms:
            raise ConfigError("this chain has no store", "Add Offload(store) to it.")
        return tuple(self._storerooms.values())

    @property
    def offloads(self) -> bool:
        """Whether there is a store that :meth:`encode` and :meth:`put` write to."""
        return bool(self._storerooms) and not self.decode_only

    async def encode(self, data: bytes, scope: Scope) -> bytes:
        """What to journal in place of ``data``: an envelope, or a reference to an object that is now durable.

        The same payload in the same scope gives the same object, so encoding it again stores nothing new.
        A chain without keys leaves a payload as it is where sealing it inline would only make it larger.

        Raises:
            LimitExceeded: ``data`` is larger than ``max_payload``.
            KeyUnavailable: The tenant's key has to be loaded and cannot be had now.
            StoreError: It has to be offloaded and the store cannot or will not take it.
        """
        if self.decode_only:
            return data
        with counting_errors("encode"):
            await self._load_primary(scope)
            return await self.writer.write(data, scope)

    async def seal_inline(self, data: bytes, scope: Scope) -> bytes:
        """As :meth:`encode`, but whatever its size the payload stays in what is returned, and no store is asked.

        Raises:
            LimitExceeded: ``data`` is larger than ``max_payload``.
            KeyUnavailable: The tenant's key has to be loaded and cannot be had now.
        """
        if self.decode_only:
            return data
        with counting_errors("encode"):
            await self._load_primary(scope)
            return await off_loop(len(data), ENCODE_INLINE_UP_TO, self.writer.inline, data, scope)

    async def decode(self, data: bytes, scope: Scope) -> bytes:
        """The payload that ``data`` stands for; ``data`` itself if it is not ours.

        Raises:
            CoatcheckError: As :meth:`open`, and as :meth:`check_plain`.
        """
        if is_ours(data):
            return await self.open(data, scope)
        self.check_plain("a payload")
        return data

    @property
    def accepts_plain(self) -> bool:
        """Tell if payloads that no chain wrote are taken as they are."""
        return self._suites.sealing.accept_plain

    def check_plain(self, what: str) -> None:
        """Refuse something that no chain wrote, unless this one takes it as it is.

        Every integration calls it for whatever arrives and is not ours, before anybody sees it.

        Args:
            what: Names it in the error: "the input of the handler".

        Raises:
            IntegrityError: The chain has ``Encrypt(..., accept_plain=False)``.
        """
        if not self.accepts_plain:
            with counting_errors("decode"):
                raise IntegrityError(
                    f"{what} came in the clear, and this chain takes only what is sealed",
                    "Give whoever wrote it the same chain. While that is being rolled out, and for histories from before, "
                    "use Encrypt(keyring, accept_plain=True).",
                )

    def check_readers(self, read_also: Collection[object]) -> None:
        """Refuse readers of other formats, which authenticate nothing, if this chain takes only what is sealed.

        Raises:
            ConfigError: The chain has ``Encrypt(..., accept_plain=False)``, and there is a reader.
        """
        if read_also and not self.accepts_plain:
            raise ConfigError(
                "what read_also reads is authenticated by nobody, and accept_plain=False takes only what is sealed",
                "Set accept_plain=False once nothing of the other format is read any more.",
            )

    async def open(self, data: bytes, scope: Scope) -> bytes:
        """The payload in an envelope or behind a reference, byte for byte what :meth:`encode` was given.

        A scope without a run opens what was sealed for any run of its tenant: that is for tools, such as a
        codec server, that an operator trusts with the tenant.

        Raises:
            FormatError: ``data`` is no envelope or reference, or of a version or with a codec not known here.
            IntegrityError: It is not what was sealed, or was sealed for another tenant or run.
            KeyUnavailable: The key that it was sealed under is not in the keyring, or cannot be loaded now.
            ConfigError: A reference names a store that the chain does not have.
            PayloadNotFound: The object that a reference names is gone, or one that it is a delta against.
            LimitExceeded: The payload is larger than ``max_payload``.
            StoreError: The store cannot or will not give the object.
        """
        with counting_errors("decode"):
            if is_reference(data):
                return await self.reader.open_reference(Reference.from_bytes(data), scope)
            if self._suites.loads_keys:
                await self._suites.load(Envelope.from_bytes(data).header, scope.tenant)
            return await off_loop(len(data), DECODE_INLINE_UP_TO, self.reader.open_inline, data, scope)

    async def open_reference(self, reference: Reference, scope: Scope) -> bytes:
        """The payload behind a reference, as :meth:`open`. It is verified before anything is fetched."""
        with counting_errors("decode"):
            return await self.reader.open_reference(reference, scope)

    async def put(self, data: bytes, scope: Scope) -> Reference:
        """Keep ``data`` in the store, whatever its size; :meth:`open_reference` brings it back.

        As with :meth:`encode`, the object is durable when this returns, and the same payload is the same object.

        Raises:
            ConfigError: The chain has no :class:`Offload`, or is ``decode_only``.
            LimitExceeded: ``data`` is larger than ``max_payload``.
            StoreError: The store cannot or will not take it.
        """
        if self.decode_only:
            raise ConfigError("this chain is decode_only, and would have to write", "Use one that writes.")
        with counting_errors("encode"):
            await self._load_primary(scope)
            draft = await off_loop(len(data), ENCODE_INLINE_UP_TO, self.writer.draft, data, scope)
            return await self.writer.keep(draft)

    def replaying(self, scope: Scope) -> None:
        """Say that an engine is about to go through a run of ``scope`` from its start once more.

        A process that knows nothing of the scope yet will list it before it writes to it, where it would else offer
        the store objects that are already there, and fetches from the first object on. Makes no request by itself.
        For integrations whose engine tells them; without it a replay is right as well.
        """
        try:
            self.writer.replaying(scope)
        except KeyUnavailable:
            # Keys are loaded where something can be awaited: see _load_primary.
            self._replaying[scope] = None
            if len(self._replaying) > _REPLAYING:
                self._replaying.popitem(last=False)

    async def load_keys(self, tenant: str) -> None:
        """Get ready to seal for a tenant by the synchronous :class:`Writer`, where an engine's hook cannot wait.

        Nothing to do with a :class:`~coatcheck.Keyring`. With :class:`~coatcheck.TenantKeys` the key that was loaded
        holds for their ``max_age``, and within :meth:`holding_keys` for as long as that; without it, or after, the writer
        raises ``KeyUnavailable``, which is worth retrying once this was awaited again. :meth:`encode` and :meth:`open` need no
        such call.

        Raises:
            KeyUnavailable: The tenant's key cannot be had now.
            StoreError: The store that keys are kept in cannot or will not give it.
        """
        await self._load_primary(Scope(tenant))

    @asynccontextmanager
    async def holding_keys(self, tenant: str) -> AsyncIterator[None]:
        """Load the tenant's key, and have it for the length of the block, whatever its ``max_age``.

        For code that does something which must not be done twice, and has its result sealed afterwards: inside of the
        block that does not fail for the want of a key. Nested blocks share what was loaded. Nothing to do with a
        :class:`~coatcheck.Keyring`.

        Raises:
            KeyUnavailable: The tenant's key cannot be had now. Nothing of the block has been done.
            StoreError: The store that keys are kept in cannot or will not give it.
        """
        outer = current_lease()
        if outer is not None:
            await self._load_for(tenant)
            yield
            return
        lease = KeyLease()
        try:
            with lease.active():
                await self._load_for(tenant)
                yield
        finally:
            lease.end()

    def ledger(self, scope: Scope) -> Ledger:
        """The small named records that are kept next to the objects of a scope.

        Raises:
            ConfigError: The chain has no :class:`Offload`.
        """
        return Ledger(self._suites, tuple(self._storerooms.values()), scope)

    async def encode_all(self, payloads: Sequence[bytes], scope: Scope) -> list[bytes]:
        """:meth:`encode` each, concurrently; same length and order as ``payloads``."""
        return await all_at_once(self.encode(data, scope) for data in payloads)

    async def decode_all(self, payloads: Sequence[bytes], scope: Scope) -> list[bytes]:
        """:meth:`decode` each, concurrently; same length and order as ``payloads``."""
        return await all_at_once(self.decode(data, scope) for data in payloads)

    async def close(self) -> None:
        """Close the stores, and let go of loaded keys. The chain can be used again; its stores open again."""
        await all_at_once(room.close() for room in self._storerooms.values())
        await self._suites.sealing.close()

    async def _load_for(self, tenant: str) -> None:
        if not self.decode_only:
            await self.load_keys(tenant)

    async def _load_primary(self, scope: Scope) -> None:
        if self._suites.loads_keys:
            await self._suites.sealing.load_primary(scope.tenant)
            if scope in self._replaying:
                self._replaying.pop(scope, None)
                self.writer.replaying(scope)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _sort_steps(
    steps: tuple[Codec | Sealing | Offload, ...],
) -> tuple[tuple[Codec, ...], Sealing | None, Offload | None]:
    order = "A chain is codecs, then at most one Encrypt, then at most one Offload."
    offload: Offload | None = None
    sealing: Sealing | None = None
    codecs: list[Codec] = []
    for step in steps:
        if isinstance(step, Codec) and sealing is None and offload is None:
            codecs.append(step)
        elif isinstance(step, Sealing) and sealing is None and offload is None:
            sealing = step
        elif isinstance(step, Offload) and offload is None:
            offload = step
        else:
            raise ConfigError(f"{step!r} stands in the wrong place of the chain, or is no step", order)
    return tuple(codecs), sealing, offload
