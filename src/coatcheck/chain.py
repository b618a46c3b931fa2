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
from coatcheck.storage.removal import delete, share, trim
from coatcheck.storage.scoped_store import ChainStore, ScopedStore
from coatcheck.sync import SyncFace, blocking
from coatcheck.telemetry import counting_errors


class Chain:
    """Codecs in order, then at most one sealing, then at most one :class:`Offload`.

    ``Chain(Zstd(), Encrypt(keyring), Offload(store))`` compresses and encrypts payloads, and keeps large ones in the
    store. One chain object serves any number of engines, tasks, threads and event loops at once.

    Args:
        *steps: The steps, in the order of encoding.
        rules: Exceptions by the names of payloads: the first rule that matches applies.
        decode_only: Return new payloads unchanged, but decode everything: the first step of a roll-out, and the way to
            roll back.
        max_payload: Bytes. Larger payloads are neither encoded nor decoded, whatever size an envelope claims.
        cache: Cache for opened payloads. By default all chains of a process share one of 256 MiB.

    Raises:
        ConfigError: A step is of the wrong type or in the wrong place, or a rule names a store that the chain does not have.
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
                "a decode_only chain writes payloads in the clear, but accept_plain=False refuses to read them",
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
        """Build the chain from ``coatcheck.toml`` and the ``COATCHECK_*`` variables (:mod:`coatcheck.settings.model`).

        Raises:
            ConfigError: A setting is wrong, or encryption is on, as it is by default, and there is no key.
        """
        from coatcheck.settings.model import Settings  # noqa: PLC0415 - settings build a chain: they import this module

        return Settings.load().chain()

    def __repr__(self) -> str:
        rules = [f"rules={self._rules!r}"] if self._rules else []
        return f"Chain({', '.join([*map(repr, self._steps), *rules])})"

    @property
    def sync(self) -> "SyncChain":
        """The same chain for code that cannot await."""
        return SyncChain(self)

    @property
    def encrypts(self) -> bool:
        """True if everything that the chain writes is encrypted."""
        return self._policy.encrypts and not self.decode_only

    @property
    def loads_keys(self) -> bool:
        """True if keys have to be loaded, so that sealing fails while one cannot be."""
        return self._policy.loads_keys and not self.decode_only

    @property
    def sealings(self) -> tuple[Sealing, ...]:
        """The sealings that the chain can open; the first one seals new payloads."""
        return self._policy.accepted

    @property
    def store(self) -> Store:
        """The store for new objects, unless a rule names another one.

        Raises:
            ConfigError: The chain has no :class:`Offload`.
        """
        return self.stores[0].client.store

    @property
    def stores(self) -> tuple[ChainStore, ...]:
        """The stores that payloads are read from, the one for new objects first. Raises as :attr:`store`."""
        if not self._stores:
            raise ConfigError("the chain has no store", "Add Offload(store) to it.")
        return tuple(self._stores.values())

    @property
    def offloads(self) -> bool:
        """True if there is a store that :meth:`encode` and :meth:`put` write to."""
        return bool(self._stores) and not self.decode_only

    def rule_for(self, name: str) -> Rule | None:
        """Return the rule that applies to payloads with this name; None if none matches."""
        return self._placements.rule_for(name)

    async def encode(self, data: bytes, scope: Scope, *, inline: bool = False, name: str = "") -> bytes:
        """Return the bytes to journal instead of ``data``: an envelope, or a reference to an object that is now durable.

        The same payload in the same scope gives the same object, so encoding it again stores nothing new.
        A chain without keys returns a payload unchanged if sealing it inline would only make it larger.

        Args:
            data: The payload.
            scope: The scope that it belongs to.
            inline: True to keep it out of the store, whatever its size.
            name: The engine's name for it, such as ``activity:charge``, to which rules apply.

        Raises:
            LimitExceeded: ``data`` is larger than ``max_payload``.
            KeyUnavailable: The tenant's key cannot be loaded now.
            StoreError: The payload has to be offloaded and the store cannot or will not take it.
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
        """Encode inline without awaiting, for hooks that cannot. Safe to call from any thread.

        Args:
            data: The payload, of any size up to ``max_payload``.
            scope: The scope that it belongs to.

        Raises:
            LimitExceeded: ``data`` is larger than ``max_payload``.
            KeyUnavailable: The tenant's key is not loaded: see :meth:`load_keys` and :meth:`holding_keys`.
        """
        return data if self.decode_only else self._encoder.seal_inline(data, self._policy.for_new(scope))

    def begin_upload(
        self, data: bytes, scope: Scope, *, always: bool = False, is_replay: bool = False, name: str = ""
    ) -> bytes | Upload:
        """Encode without awaiting, for hooks that cannot: return the bytes to journal, or an upload to finish before that.

        Above 48 KB it computes no more than a hash, so it may run on an event loop. Safe to call from any thread.

        Args:
            data: The payload.
            scope: The scope that it belongs to.
            always: True to make it an object, whatever its size.
            is_replay: True if the engine replays the run: see :meth:`replaying`.
            name: As :meth:`encode`.

        Raises:
            ConfigError: ``always`` is set, and the chain has no :class:`Offload` or is ``decode_only``.
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
        """Return the payload for journaled ``data``; ``data`` itself if no chain wrote it.

        Args:
            data: An envelope, a reference, or anything else.
            scope: The scope that it belongs to.

        Raises:
            CoatcheckError: As :meth:`open` and :meth:`check_plain`.
        """
        if is_ours(data):
            return await self.open(data, scope)
        self.check_plain("a payload")
        return data

    @property
    def accepts_plain(self) -> bool:
        """True if payloads that no chain wrote are accepted unchanged."""
        return self._policy.sealing.accept_plain

    def check_plain(self, what: str) -> None:
        """Refuse a payload that no chain wrote, unless this chain accepts them.

        Every integration calls this for each such payload, before user code sees it.

        Args:
            what: Its name in the error: "the input of the handler".

        Raises:
            IntegrityError: The chain has ``Encrypt(..., accept_plain=False)``.
        """
        if not self.accepts_plain:
            with counting_errors("decode"):
                raise IntegrityError(
                    f"{what} is in the clear, and this chain accepts only sealed payloads",
                    "Use the same chain where it was written. During a roll-out, and for older histories, "
                    "use Encrypt(keyring, accept_plain=True).",
                )

    def check_readers(self, read_also: Collection[object]) -> None:
        """Refuse readers of other formats, which authenticate nothing, if this chain accepts only sealed payloads.

        Args:
            read_also: The readers that an integration was given.

        Raises:
            ConfigError: The chain has ``Encrypt(..., accept_plain=False)``, and there is a reader.
        """
        if read_also and not self.accepts_plain:
            raise ConfigError(
                "read_also reads unauthenticated payloads, but accept_plain=False accepts only sealed ones",
                "Set accept_plain=False only when nothing in the other format is read any more.",
            )

    async def open(self, data: bytes, scope: Scope) -> bytes:
        """Return the payload of an envelope or a reference, byte for byte as :meth:`encode` received it.

        A scope without a run opens the payloads of all runs of its tenant: for tools, such as a codec server, that an
        operator trusts with the tenant.

        Args:
            data: An envelope or a reference.
            scope: The scope that it belongs to.

        Raises:
            FormatError: ``data`` is not an envelope or reference, or its version or codec is unknown.
            IntegrityError: It was changed since it was sealed, or was sealed for another tenant or run.
            KeyUnavailable: The key that it was sealed under is not in the keyring, or cannot be loaded now.
            ConfigError: The reference names a store that the chain does not have.
            PayloadNotFound: The object of the reference is gone, or one that it is a delta against.
            LimitExceeded: The payload is larger than ``max_payload``.
            StoreError: The store cannot or will not return the object.
        """
        with counting_errors("decode"):
            if is_reference(data):
                return await self._decoder.open_reference(Reference.from_bytes(data), scope)
            if self._policy.loads_keys:
                await self._policy.load(Envelope.from_bytes(data).header, scope.tenant)
            return await off_loop(len(data), DECODE_INLINE_UP_TO, self._decoder.open_inline, data, scope)

    def open_inline(self, data: bytes, scope: Scope) -> bytes:
        """Return the payload of an envelope without awaiting, for hooks that cannot. Safe to call from any thread.

        Args:
            data: An envelope.
            scope: The scope that it belongs to.

        Raises:
            FormatError: ``data`` is not an envelope; it may be a reference.
            CoatcheckError: As :meth:`open`; KeyUnavailable also if the key is not loaded.
        """
        with counting_errors("decode"):
            return self._decoder.open_inline(data, scope)

    async def open_object(self, scope: ScopedStore, object_id: bytes, data: bytes) -> bytes:
        """Return the payload of an object that is already fetched, for tools that inspect a store. Raises as :meth:`open`.

        Args:
            scope: The scope that the object is in.
            object_id: The object's id.
            data: The object's bytes.
        """
        return await self._decoder.open_object(scope, object_id, data)

    async def open_reference(self, reference: Reference, scope: Scope) -> bytes:
        """Return the payload of a reference, which is verified before anything is fetched. Raises as :meth:`open`."""
        with counting_errors("decode"):
            return await self._decoder.open_reference(reference, scope)

    async def put(self, data: bytes, scope: Scope, *, name: str = "") -> Reference:
        """Store ``data``, whatever its size, and return a reference for :meth:`open_reference`.

        As with :meth:`encode`, the object is durable when this returns, and the same payload gives the same object.

        Args:
            data: The payload.
            scope: The scope that it belongs to.
            name: As :meth:`encode`; only a rule's store matters here.

        Raises:
            ConfigError: The chain has no :class:`Offload`, or is ``decode_only``.
            LimitExceeded: ``data`` is larger than ``max_payload``.
            KeyUnavailable: The tenant's key cannot be loaded now.
            StoreError: The store cannot or will not take it.
        """
        self._check_writes()
        with counting_errors("encode"):
            store = self._place(name).store or self.stores[0]
            scoped = store.scope(await self._policy.load_for_new(scope))
            draft = await off_loop(len(data), ENCODE_INLINE_UP_TO, self._encoder.draft, data, scoped)
            return await self._uploader.store(draft)

    async def replaying(self, scope: Scope) -> None:
        """Announce that an engine is about to replay a run of ``scope`` from its start.

        A process that knows nothing about the scope then lists it before it writes, instead of offering the store
        objects that it already has, and prefetches from the first object on. This method makes no request except for the
        tenant's key, and a key that cannot be loaded is no error here. For integrations whose engine announces replays;
        without it a replay is correct, but slower.
        """
        if self.offloads:
            with suppress(KeyUnavailable, StoreError):
                sealing = await self._policy.load_for_new(scope)
                for store in (self.stores[0], *self._placements.others):
                    store.scope(sealing).state.is_replayed = True

    async def load_keys(self, tenant: str) -> None:
        """Load the tenant's key for :meth:`seal_inline` and :meth:`begin_upload`, which cannot await it.

        Does nothing with a :class:`~coatcheck.Keyring`. With :class:`~coatcheck.TenantKeys`, the key stays usable for
        their ``max_age`` seconds, and within :meth:`holding_keys` until the block ends. Otherwise those methods raise
        ``KeyUnavailable``: await this again, and retry. :meth:`encode` and :meth:`open` load keys themselves.

        Raises:
            KeyUnavailable: The tenant's key cannot be loaded now.
            StoreError: The store with the keys cannot or will not return it.
        """
        await self._policy.load_primary(tenant)

    @asynccontextmanager
    async def holding_keys(self, tenant: str) -> AsyncIterator[None]:
        """Load the tenant's key, and keep it usable until the block ends, whatever its ``max_age``.

        For code that must not run twice and whose result is sealed afterwards: within the block, sealing cannot fail for
        lack of a key. Nested blocks share the loaded keys. Does nothing with a :class:`~coatcheck.Keyring`.

        Raises:
            KeyUnavailable: The tenant's key cannot be loaded now. The block has not been entered.
            StoreError: The store with the keys cannot or will not return it.
        """
        with leased():
            await self._load_for(tenant)
            yield

    async def beginning(self, scope: Scope) -> None:
        """Announce that an engine is about to begin a run of ``scope``, of which it knows nothing.

        Another process may have deleted an earlier run of the same name: what this process knows about its objects is
        forgotten. This method makes no request except for the tenant's keys.

        Raises:
            KeyUnavailable: A key of the tenant cannot be loaded now.
        """
        if self._stores:
            await self.ledger(scope).begin(None)

    async def share(self, scope: Scope) -> None:
        """Announce that runs of other scopes refer to payloads of ``scope``: only a sweep, which sees all of them, deletes it.

        Does nothing without an :class:`Offload`.

        Raises:
            KeyUnavailable: The tenant's key cannot be loaded now.
            StoreError: The store cannot or will not take a record of it.
        """
        if self._stores:
            await share(self.ledger(scope))

    async def delete(self, scope: Scope) -> bool:
        """Delete everything that is stored for ``scope``, in all stores and under all keys, unless others :meth:`share` it.

        For engines that delete a run and say so. Nobody may write to the scope meanwhile: a reference that is journaled later
        could refer to a deleted object. A process that begins a run of the same name calls :meth:`beginning`. Old versions in
        a versioned bucket and copies in replicas are not deleted. A scope with records, as of :class:`~coatcheck.Checkpoints`,
        counts as shared.

        Returns:
            False if it is shared, and nothing was deleted.

        Raises:
            KeyUnavailable: A key of the tenant cannot be loaded now.
            StoreError: A store fails or refuses to list or delete; some objects may be deleted.
        """
        return not self._stores or await delete(self.ledger(scope))

    async def trim(self, scope: Scope, references: Iterable[Reference]) -> bool:
        """Delete what is stored for ``scope`` and needed by none of ``references``, unless others :meth:`share` it.

        A process may rely for an hour on objects that it has seen, needed or not. So this does nothing in a scope that was
        written to in the last two hours.

        Args:
            scope: The scope.
            references: All that the engine still has of the scope.

        Returns:
            False if it is shared or was written to, and nothing was deleted.

        Raises:
            KeyUnavailable: A key of the tenant cannot be loaded now.
            FormatError: An object is damaged, so that it is not known what it needs. Nothing was deleted.
            StoreError: A store fails or refuses to list or delete; some objects may be deleted.
        """
        return not self._stores or await trim(self.ledger(scope), references)

    def ledger(self, scope: Scope) -> Ledger:
        """Return the small named records next to the objects of a scope.

        Raises:
            ConfigError: The chain has no :class:`Offload`.
        """
        return Ledger(self._policy, tuple(self._stores.values()), scope)

    async def close(self) -> None:
        """Close the stores and drop loaded keys. The chain can be used again; its stores reopen."""
        await all_at_once(store.close() for store in self._stores.values())
        await self._policy.sealing.close()

    async def _load_for(self, tenant: str) -> None:
        if not self.decode_only:
            await self.load_keys(tenant)

    def _place(self, name: str) -> Placement:
        return self._placements.of(name) if self._rules else self._placements.default

    def _check_writes(self) -> None:
        if self.decode_only:
            raise ConfigError("a decode_only chain cannot write", "Use a chain without decode_only.")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class SyncChain(SyncFace[Chain]):
    """A :class:`Chain` for code that cannot await: :attr:`Chain.sync`.

    Arguments, results and errors are those of :class:`Chain`. Work without I/O is done in the calling thread. The rest is
    done on coatcheck's own event loop, one for the process, while the calling thread waits. So it may be used in any thread,
    also in one with a running event loop, which it blocks: await :class:`Chain` there if you can.
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
    beginning = blocking(Chain.beginning)
    share = blocking(Chain.share)
    delete = blocking(Chain.delete)
    trim = blocking(Chain.trim)
    close = blocking(Chain.close)

    @contextmanager
    def holding_keys(self, tenant: str) -> Iterator[None]:
        """Keep the tenant's key usable as :meth:`Chain.holding_keys` does; for ``with``."""
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
            raise ConfigError(f"{step!r} is in the wrong place of the chain, or is not a step", order)
    return tuple(codecs), sealing, offload
