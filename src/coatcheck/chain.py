"""The one path that every payload takes, on its way into a journal and back."""

import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Self

from coatcheck.contracts.codec import Codec
from coatcheck.contracts.sealing import Sealing
from coatcheck.contracts.store import Store
from coatcheck.errors import ConfigError, IntegrityError, KeyUnavailable, StoreError
from coatcheck.format.codec_pipeline import CodecPipeline
from coatcheck.format.envelope import Envelope
from coatcheck.format.reference import Reference
from coatcheck.format.suites import SealingPolicy
from coatcheck.format.wire import is_ours, is_reference
from coatcheck.keys.lease import leased
from coatcheck.offload import MAX_PAYLOAD, Offload
from coatcheck.pipeline.decode import Decoder
from coatcheck.pipeline.delta_chain import DeltaChains
from coatcheck.pipeline.encode import Draft, Encoder
from coatcheck.pipeline.store import Uploader
from coatcheck.pipeline.upload import Upload
from coatcheck.rules import Placement, Placements, Rule
from coatcheck.runtime.concurrency import DECODE_INLINE_UP_TO, ENCODE_INLINE_UP_TO, all_at_once, off_loop
from coatcheck.scope import Scope
from coatcheck.storage.cache import PROCESS_CACHE, PayloadCache
from coatcheck.storage.records import Ledger
from coatcheck.storage.scoped_store import ChainStore, ScopedStore
from coatcheck.sync import SyncFace, blocking
from coatcheck.telemetry import counting_errors


class Chain:
    """Codecs in order, then at most one sealing, then at most one :class:`Offload`.

    ``Chain(Zstd(), Encrypt(keyring), Offload(store))`` compresses, encrypts, and keeps what is still large in
    the store. The same chain object serves any number of engines, tasks, threads and event loops at once.

    Args:
        *steps: The steps, in the order in which a payload passes them.
        rules: What is offloaded where, by payloads' names: the first that fits counts.
        decode_only: Let payloads through unchanged on the way in, and still read everything on the way back:
            the first step of a roll-out, and the way to roll back.
        max_payload: Bytes. No payload above it is taken or given back, whatever an envelope says of itself.
        cache: Of opened payloads; all chains of a process share one of 256 MiB unless they are given another.

    Raises:
        ConfigError: The steps are of the wrong kind, or in an order that cannot work; or a rule names a store that the
            chain does not have.
    """

    def __init__(
        self,
        *steps: Codec | Sealing | Offload,
        rules: Iterable[Rule] = (),
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
        self._policy = SealingPolicy(sealing)
        self._stores: dict[str, ChainStore] = {}
        if offload is not None:
            for alias, store in offload.stores.items():
                self._stores[alias] = ChainStore(alias, store, offload.deadline, max_payload=max_payload)
        self._rules = tuple(rules)
        self._placements = Placements(self._rules, self._stores, offload.over if offload is not None else 0)
        pipeline = CodecPipeline(codecs, max_payload)
        deltas = DeltaChains(cache, pipeline)
        self._encoder = Encoder(
            pipeline,
            deltas,
            max_payload,
            encrypts=self._policy.encrypts,
            threshold_varies=self._placements.threshold_varies,
        )
        self._uploader = Uploader(self._encoder, pipeline, deltas)
        self._decoder = Decoder(self._policy, pipeline, deltas, self._stores, max_payload)

    @classmethod
    def from_settings(cls) -> "Chain":
        """The chain that ``coatcheck.toml`` and the ``COATCHECK_*`` variables describe (:mod:`coatcheck.settings.model`).

        Raises:
            ConfigError: A setting is wrong, or there is no key where encryption is on, as it is by default.
        """
        from coatcheck.settings.model import Settings  # noqa: PLC0415 - settings build a chain: they import this module

        return Settings.load().chain()

    def __repr__(self) -> str:
        rules = [f"rules={self._rules!r}"] if self._rules else []
        return f"Chain({', '.join([*map(repr, self._steps), *rules])})"

    @property
    def sync(self) -> "SyncChain":
        """The chain for code that cannot await."""
        return SyncChain(self)

    @property
    def encrypts(self) -> bool:
        """Whether nothing that passes the chain can be read without a key."""
        return self._policy.encrypts and not self.decode_only

    @property
    def loads_keys(self) -> bool:
        """Tell if keys have to be loaded, so that sealing can fail for the want of one."""
        return self._policy.loads_keys and not self.decode_only

    @property
    def sealings(self) -> tuple[Sealing, ...]:
        """What something that the chain opens may be sealed with, the one for what is new first."""
        return self._policy.accepted

    @property
    def store(self) -> Store:
        """Where new objects are written, but for those that a rule has written to another one.

        Raises:
            ConfigError: The chain has no :class:`Offload`.
        """
        return self.stores[0].client.store

    @property
    def stores(self) -> tuple[ChainStore, ...]:
        """The stores that payloads are read from, the one for new objects first; raises as :attr:`store`."""
        if not self._stores:
            raise ConfigError("this chain has no store", "Add Offload(store) to it.")
        return tuple(self._stores.values())

    @property
    def offloads(self) -> bool:
        """True if there is a store that :meth:`encode` and :meth:`put` write to."""
        return bool(self._stores) and not self.decode_only

    def rule_for(self, name: str) -> Rule | None:
        """Return the rule that counts for payloads with this name; None if none fits, and all is as :class:`Offload` has it."""
        return self._placements.rule_for(name)

    async def encode(self, data: bytes, scope: Scope, *, inline: bool = False, name: str = "") -> bytes:
        """Return what to journal in place of ``data``: an envelope, or a reference to an object that is now durable.

        The same payload in the same scope gives the same object, so encoding it again stores nothing new.
        A chain without keys leaves a payload as it is where sealing it inline would only make it larger.

        Args:
            data: The payload.
            scope: Whose it is.
            inline: Whether it stays in what is returned, whatever its size, so that no store is asked.
            name: What the engine calls it, such as ``activity:charge``: the chain's rules go by it.

        Raises:
            LimitExceeded: ``data`` is larger than ``max_payload``.
            KeyUnavailable: The tenant's key has to be loaded and cannot be had now.
            StoreError: It has to be offloaded and the store cannot or will not take it.
        """
        if self.decode_only:
            return data
        with counting_errors("encode"):
            sealing = await self._policy.load_for_new(scope)
            place = self._place(name)
            store = None if inline else _store_for(len(data), place)
            if store is None:
                return await off_loop(
                    len(data), ENCODE_INLINE_UP_TO, self._encoder.seal_inline, data, sealing
                )
            begun = time.monotonic()
            scoped = store.scope(sealing)
            await scoped.wait_for_listing()
            draft = await off_loop(
                len(data), ENCODE_INLINE_UP_TO, self._encoder.encode, data, scoped, place.over
            )
            return (
                draft if isinstance(draft, bytes) else (await self._uploader.store(draft, begun)).to_bytes()
            )

    def seal_inline(self, data: bytes, scope: Scope) -> bytes:
        """As :meth:`encode` with ``inline``, for hooks that cannot wait. Safe to call in any thread.

        Raises:
            LimitExceeded: ``data`` is larger than ``max_payload``.
            KeyUnavailable: The tenant's key is not loaded: see :meth:`load_keys` and :meth:`holding_keys`.
        """
        return data if self.decode_only else self._encoder.seal_inline(data, self._policy.for_new(scope))

    def begin_upload(
        self, data: bytes, scope: Scope, *, always: bool = False, is_replay: bool = False, name: str = ""
    ) -> bytes | Upload:
        """As :meth:`encode`, for hooks that cannot wait: return what to journal, or an upload that has to end before.

        Above 48 KB no more is computed than a hash, so it may be called on an event loop. Safe to call in any thread.

        Args:
            data: The payload.
            scope: Whose it is.
            always: Whether it becomes an object whatever its size.
            is_replay: As said by :meth:`replaying`.
            name: As :meth:`encode`.

        Raises:
            ConfigError: It shall become an object, and the chain has no :class:`Offload` or is ``decode_only``.
            LimitExceeded: ``data`` is larger than ``max_payload``.
            KeyUnavailable: As :meth:`seal_inline`.
        """
        if always:
            self._check_writes()
        if self.decode_only:
            return data
        sealing = self._policy.for_new(scope)
        place = self._place(name)
        store = (place.store or self.stores[0]) if always else _store_for(len(data), place)
        if store is None:
            return self._encoder.seal_inline(data, sealing)
        scoped = store.scope(sealing)
        if is_replay:
            scoped.state.is_replayed = True
        if not always and len(data) <= ENCODE_INLINE_UP_TO:
            encoded = self._encoder.encode(data, scoped, place.over)
            if isinstance(encoded, Draft):
                return Upload(encoded, self._encoder, self._uploader)
            if not is_ours(encoded) or not is_reference(encoded):
                return encoded
        return Upload(self._encoder.draft(data, scoped), self._encoder, self._uploader)

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
        return self._policy.sealing.accept_plain

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
                return await self._decoder.open_reference(Reference.from_bytes(data), scope)
            if self._policy.loads_keys:
                await self._policy.load(Envelope.from_bytes(data).header, scope.tenant)
            return await off_loop(len(data), DECODE_INLINE_UP_TO, self._decoder.open_inline, data, scope)

    def open_inline(self, data: bytes, scope: Scope) -> bytes:
        """As :meth:`open`, for an envelope, and hooks that cannot wait. Safe to call in any thread.

        Raises:
            FormatError: ``data`` is no envelope: it may be a reference.
            CoatcheckError: As :meth:`open`; KeyUnavailable also where the key is not loaded.
        """
        with counting_errors("decode"):
            return self._decoder.open_inline(data, scope)

    async def open_object(self, scope: ScopedStore, object_id: bytes, data: bytes) -> bytes:
        """Return the payload of an object that was fetched already, for tools that look at a store; raises as :meth:`open`."""
        return await self._decoder.open_object(scope, object_id, data)

    async def open_reference(self, reference: Reference, scope: Scope) -> bytes:
        """The payload behind a reference, as :meth:`open`. It is verified before anything is fetched."""
        with counting_errors("decode"):
            return await self._decoder.open_reference(reference, scope)

    async def put(self, data: bytes, scope: Scope, *, name: str = "") -> Reference:
        """Keep ``data`` in the store, whatever its size; :meth:`open_reference` brings it back.

        As with :meth:`encode`, the object is durable when this returns, and the same payload is the same object. Of a rule
        for ``name`` only the store counts.

        Raises:
            ConfigError: The chain has no :class:`Offload`, or is ``decode_only``.
            LimitExceeded: ``data`` is larger than ``max_payload``.
            StoreError: The store cannot or will not take it.
        """
        self._check_writes()
        with counting_errors("encode"):
            store = self._place(name).store or self.stores[0]
            scoped = store.scope(await self._policy.load_for_new(scope))
            draft = await off_loop(len(data), ENCODE_INLINE_UP_TO, self._encoder.draft, data, scoped)
            return await self._uploader.store(draft)

    async def replaying(self, scope: Scope) -> None:
        """Say that an engine is about to go through a run of ``scope`` from its start once more.

        A process that knows nothing of the scope yet will list it before it writes to it, where it would else offer
        the store objects that are already there, and fetches from the first object on. Makes no request by itself, but
        for the tenant's key; a key that cannot be had is no error here. For integrations whose engine tells them;
        without it a replay is right as well.
        """
        if self.offloads:
            with suppress(KeyUnavailable, StoreError):
                sealing = await self._policy.load_for_new(scope)
                for store in (self.stores[0], *self._placements.others):
                    store.scope(sealing).state.is_replayed = True

    async def load_keys(self, tenant: str) -> None:
        """Get ready for :meth:`seal_inline` and :meth:`begin_upload`, where an engine's hook cannot wait.

        Nothing to do with a :class:`~coatcheck.Keyring`. With :class:`~coatcheck.TenantKeys` the key that was loaded
        holds for their ``max_age``, and within :meth:`holding_keys` for as long as that; without it, or after, those
        raise ``KeyUnavailable``, which is worth retrying once this was awaited again. :meth:`encode` and :meth:`open` need no
        such call.

        Raises:
            KeyUnavailable: The tenant's key cannot be had now.
            StoreError: The store that keys are kept in cannot or will not give it.
        """
        await self._policy.load_primary(tenant)

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
        with leased():
            await self._load_for(tenant)
            yield

    def ledger(self, scope: Scope) -> Ledger:
        """The small named records that are kept next to the objects of a scope.

        Raises:
            ConfigError: The chain has no :class:`Offload`.
        """
        return Ledger(self._policy, tuple(self._stores.values()), scope)

    async def close(self) -> None:
        """Close the stores, and let go of loaded keys. The chain can be used again; its stores open again."""
        await all_at_once(store.close() for store in self._stores.values())
        await self._policy.sealing.close()

    async def _load_for(self, tenant: str) -> None:
        if not self.decode_only:
            await self.load_keys(tenant)

    def _place(self, name: str) -> Placement:
        return self._placements.of(name) if self._rules else self._placements.default

    def _check_writes(self) -> None:
        if self.decode_only:
            raise ConfigError("this chain is decode_only, and would have to write", "Use one that writes.")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class SyncChain(SyncFace[Chain]):
    """A :class:`Chain` for code that cannot await: :attr:`Chain.sync`.

    Each method takes, gives and raises what the one of :class:`Chain` does. Whatever needs no I/O is answered in the calling
    thread; the rest is done on an event loop of coatcheck's own, one for the process, while the calling thread waits. So it
    may be used in any thread, also where an event loop is running, which it holds up: prefer to await there.
    """

    __slots__ = ()

    encode = blocking(Chain.encode)
    decode = blocking(Chain.decode)
    open = blocking(Chain.open)
    put = blocking(Chain.put)
    open_reference = blocking(Chain.open_reference)
    open_object = blocking(Chain.open_object)
    replaying = blocking(Chain.replaying)
    load_keys = blocking(Chain.load_keys)
    close = blocking(Chain.close)

    @contextmanager
    def holding_keys(self, tenant: str) -> Iterator[None]:
        """See :meth:`Chain.holding_keys`; for ``with``."""
        with leased():
            if not self._subject.decode_only:
                self.load_keys(tenant)
            yield


def _store_for(size: int, place: Placement) -> ChainStore | None:
    """Return the store of a payload that may have to be offloaded; None if it stays inline for its size in bytes alone."""
    return None if place.inline or size <= place.over else place.store


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
