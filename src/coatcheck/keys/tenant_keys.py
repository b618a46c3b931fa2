"""Envelope encryption: each tenant has keys of its own, wrapped by a key that never leaves its KMS."""

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from coatcheck.contracts.keys import Key, KeySource
from coatcheck.contracts.store import Store
from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    IntegrityError,
    KeyDestroyed,
    KeyServiceError,
    KeyUnavailable,
    StoreUnavailable,
)
from coatcheck.keys.key_cache import DEFAULT_MAX_AGE, KeyCache
from coatcheck.keys.key_store import NAMES, KeyRecord, KeyStore, KeyVersion, TenantKeyRecords
from coatcheck.keys.kms import KeyService
from coatcheck.keys.lookups import Lookups
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.runtime.retry import retry
from coatcheck.runtime.single_flight import SingleFlight
from coatcheck.storage.client import DEFAULT_DEADLINE

_T = TypeVar("_T")

_NAMES_CONTEXT = {"coatcheck": "names/v1"}
_TENANT_LABEL = b"coatcheck/v1/tenant-folder/"
_TAG_LENGTH = 16
LABEL_PATTERN: Final = r"^[A-Za-z0-9._:/-]{1,64}$"
_RENEWAL_SECONDS: Final = 1.0
"""Seconds to wait for the renewal of a key that may still be used."""
_RENEWAL_PAUSE: Final = 5.0
"""Seconds between a failed renewal and the next."""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """The public facts about a tenant's key."""

    tenant_tag: str
    """32 hexadecimal digits that stand for the tenant in the store."""
    number: int
    """From 1; the highest is the primary."""
    key_id: str
    """Hexadecimal, as in headers."""
    primary: bool
    """True if it seals new payloads."""
    service: str
    """The name of the KMS key that wraps it."""
    created_at: datetime


class TenantKeys(KeySource):
    """Random keys for each tenant, wrapped by a key of a KMS and kept, wrapped, in a store.

    A tenant gets its first key when its first payload is sealed. If several processes make one at once, only one of the
    keys is used. The KMS is called once per key, process and ``max_age``, not once per payload. Whoever can list or read
    the store learns the number of tenants, but nothing about their names or keys.

    Destroying a tenant's keys (:meth:`shred`) makes all of its payloads unreadable, and only its. Processes that have a
    key cached can use it until it is ``max_age`` old.

    Safe to use from any number of tasks, threads and event loops. ``docs/keys.md`` describes rotation and shredding.

    Wrapping binds each key to the label of its store and to its place there, so records that are copied from another
    store, such as staging, open nothing, even if the same KMS key wrapped them.

    Args:
        store: The store for wrapped keys, below ``keys/``. Best without versions, which would survive a shredding.
        service: Wraps new keys, and unwraps those that it wrapped.
        *decrypt_only: Former services; they unwrap the keys that they wrapped.
        label: The store's name among all whose keys this KMS wraps: ``prod``, ``staging-eu``. Unique for each store, and
            the same in all processes that use it. 1 to 64 characters of ``A-Z a-z 0-9 . _ : / -``.
        former_labels: Labels that records in this store may still have, after it was moved or renamed on purpose. Remove
            them after :meth:`rekey`: until then, records of the stores with those labels open here.
        max_age: Seconds that an unwrapped key is cached; at least 1.
        deadline: Seconds for one call to the store or the service, including all retries.

    Raises:
        ConfigError: Two services have the same name, ``max_age`` is below 1, or a label is malformed.
    """

    loads = True

    def __init__(
        self,
        store: Store,
        service: KeyService,
        *decrypt_only: KeyService,
        label: str,
        former_labels: Collection[str] = (),
        max_age: float = DEFAULT_MAX_AGE,
        deadline: float = DEFAULT_DEADLINE,
    ) -> None:
        self._service = service
        self._services = {one.name: one for one in (service, *decrypt_only)}
        if len(self._services) <= len(decrypt_only):
            raise ConfigError("a KMS key is given twice", "Give each once, the primary first.")
        for one in (label, *former_labels):
            if not re.fullmatch(LABEL_PATTERN, one):
                raise ConfigError(
                    f"{one[:80]!r} is not a store label", "Use 1 to 64 characters of A-Z a-z 0-9 . _ : / -"
                )
        self._label = label
        self._labels = {label, *former_labels}
        self._key_store = KeyStore(store, deadline)
        self._deadline = deadline
        self._cache = KeyCache(max_age)
        self._lookups = Lookups()
        self.max_age = max_age
        self._names: Key | None = None
        self._loading: SingleFlight[None] = SingleFlight()

    def __repr__(self) -> str:
        return f"TenantKeys({self._key_store!r}, {', '.join(self._services)})"

    def primary_key_id(self, tenant: str) -> bytes:
        """See :class:`KeySource`."""
        key_id = self._cache.primary_key_id(tenant)
        if key_id is None:
            raise _not_loaded()
        return key_id

    def key_ids(self, tenant: str) -> tuple[bytes, ...]:
        """See :class:`KeySource`. Returns the cached keys: after :meth:`load_all`, all of them."""
        return self._cache.key_ids(tenant)

    def key(self, tenant: str, key_id: bytes) -> Key:
        """See :class:`KeySource`."""
        key = self._cache.key(tenant, key_id)
        if key is None:
            raise _not_loaded()
        return key

    def is_loaded(self, tenant: str, key_id: bytes | None) -> bool:
        """See :class:`KeySource`: it is held, and not about to be too old."""
        return self._cache.is_fresh(tenant, key_id)

    async def load_primary(self, tenant: str) -> None:
        """See :class:`KeySource`. Makes the first key of a tenant.

        Raises:
            KeyServiceError: The service cannot wrap or unwrap now; or, not retryable, it refuses.
            KeyUnavailable: The service's key is disabled or does not exist, or is not configured here.
            KeyDestroyed: The service has destroyed what the key was wrapped with.
            IntegrityError: A record was moved, swapped or damaged.
            FormatError: A record cannot be read.
            StoreError: The store refuses or cannot be reached.
        """
        await self._have(tenant, None, f"primary/{tenant}", lambda: self._load_primary(tenant))

    async def load(self, tenant: str, key_id: bytes) -> None:
        """See :class:`KeySource`. Raises as :meth:`load_primary`; and as :class:`Lookups` for a key that is not there.

        The key id comes from unverified data, so the cost does not grow with the number of calls: see
        :class:`~coatcheck.keys.lookups.Lookups`.
        """
        await self._have(tenant, key_id, f"{key_id.hex()}/{tenant}", lambda: self._load(tenant, key_id))

    async def load_all(self, tenant: str) -> None:
        """See :class:`KeySource`. Raises as :meth:`load_primary`."""
        await self._loading.run(f"all/{tenant}", lambda: self._load_all(tenant))

    async def rotate(self, tenant: str, *, new: bool = False) -> KeyInfo:
        """Make a new key for a tenant. It seals new payloads; the older keys only open.

        Other processes use the previous key until it is ``max_age`` old in their caches. Raises as :meth:`load_primary`.

        Args:
            tenant: The tenant's name.
            new: True to make the first key of a tenant that has none.

        Returns:
            The new primary; if another process rotated at the same moment, possibly the one that it made.

        Raises:
            ConfigError: The tenant has no key, and ``new`` is false: its name may be misspelt.
        """
        if not new and not await self.list(tenant):
            raise ConfigError(
                f"the tenant {tenant!r} has no key",
                "Check its name. To make its first key, use new=True or --new.",
            )
        return await self._rotate(await self._tag(tenant))

    async def rotate_all(self) -> list[KeyInfo]:
        """Rotate the keys of all tenants that have one. Raises as :meth:`load_primary`."""
        return [await self._rotate(tag) for tag in await self._key_store.tags()]

    async def shred(self, tenant: str) -> list[str]:
        """Destroy all keys of a tenant for good: payloads that were sealed under them can never be read again.

        Other processes drop cached keys within ``max_age``. If the tenant seals a payload afterwards, it gets a new key.
        Raises as :meth:`load_primary`.

        Returns:
            The ids of the destroyed keys; empty if the tenant had none.
        """
        destroyed = await self._key_store.destroy(await self._tag(tenant))
        self._cache.drop(tenant)
        self._lookups.clear()
        return destroyed

    async def list(self, tenant: str | None = None) -> "list[KeyInfo]":
        """Return the keys of a tenant, or of all tenants, without unwrapping them. Makes no key. Raises as :meth:`load_all`."""
        if tenant is None:
            tags = await self._key_store.tags()
        else:
            tags = [await self._tag(tenant)] if await self._has_names() else []
        found = await all_at_once(self._key_store.of(tag) for tag in tags)
        return [_info(records, number) for records in found for number in range(len(records.keys))]

    async def rekey(self) -> int:
        """Wrap all keys again with the primary service and this store's label. Keys, payloads and references stay the same.

        Each new wrapping is unwrapped once before it replaces the old one. Can be repeated, also after an error. Afterwards
        the decrypt-only services and former labels can be removed. Raises as :meth:`load_primary`.

        Returns:
            The number of wrapped keys.
        """
        names = await self._key_store.names()
        if names is None:
            return 0
        await self._key_store.replace_names(await self._rewrapped(names, _NAMES_CONTEXT))
        count = 1
        for tag in await self._key_store.tags():
            for version, record in (await self._key_store.of(tag)).keys:
                count += await self._key_store.replace(
                    version, await self._rewrapped(record, _context(version))
                )
        self._lookups.clear()
        return count

    async def close(self) -> None:
        """See :class:`KeySource`."""
        self._cache.clear()
        self._lookups.clear()
        self._names = None
        await all_at_once(service.close() for service in self._services.values())
        await self._key_store.close()

    async def _have(
        self, tenant: str, key_id: bytes | None, name: str, load: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Load a key, or the primary if ``key_id`` is None; renew it if it is cached and about to expire."""
        while not self._cache.is_fresh(tenant, key_id):
            if not self._cache.is_cached(tenant, key_id):
                await self._loading.run(name, load)
                continue
            try:
                async with asyncio.timeout(_RENEWAL_SECONDS):
                    await self._loading.run(name, load)
            except (KeyUnavailable, StoreUnavailable, TimeoutError) as error:
                if isinstance(error, CoatcheckError) and not error.retryable:
                    raise
                if key_id is not None:
                    self._lookups.check(tenant, key_id)
                # While the cached key may be used, the service and the store may be down.
                self._cache.postpone(tenant, _RENEWAL_PAUSE)

    async def _load_primary(self, tenant: str) -> None:
        tag = await self._tag(tenant)
        records = await self._key_store.of(tag)
        if not records.keys:
            records = await self._add(records)
        version, record = records.keys[-1]
        self._cache.put(tenant, await self._unwrap(record, _context(version)), primary=True)

    async def _load(self, tenant: str, key_id: bytes) -> None:
        self._lookups.check(tenant, key_id)
        tag = await self._tag(tenant)
        records = await self._lookups.records(tenant, key_id, lambda: self._key_store.of(tag))
        for version, record in records.keys:
            if record.key_id == key_id.hex():
                self._cache.put(tenant, await self._unwrap(record, _context(version)))
                return
        for tombstone in records.destroyed:
            if tombstone.key_id == key_id.hex():
                destroyed = KeyDestroyed(
                    f"the key {key_id.hex()} was destroyed on {tombstone.destroyed_at:%Y-%m-%d}",
                    "The tenant was shredded: payloads that were sealed under this key are gone for good.",
                )
                raise self._lookups.remember(tenant, key_id, destroyed)
        missing = KeyUnavailable(
            f"the tenant has no key {key_id.hex()} in {self._key_store!r}",
            "Check the tenant, and that its keys are kept in this store.",
        )
        raise self._lookups.remember(tenant, key_id, missing)

    async def _load_all(self, tenant: str) -> None:
        records = await self._key_store.of(await self._tag(tenant))
        for number, (version, record) in enumerate(records.keys, start=1):
            key_id, is_primary = bytes.fromhex(record.key_id), number == len(records.keys)
            key = self._cache.key(tenant, key_id)
            is_known = not is_primary or (
                self._cache.is_fresh(tenant, None) and self._cache.primary_key_id(tenant) == key_id
            )
            if key is None or not is_known:
                self._cache.put(tenant, await self._unwrap(record, _context(version)), primary=is_primary)

    async def _rotate(self, tag: str) -> KeyInfo:
        records = await self._add(await self._key_store.of(tag))
        self._cache.clear()
        self._lookups.clear()
        return _info(records, len(records.keys) - 1)

    async def _add(self, records: TenantKeyRecords) -> TenantKeyRecords:
        """Add a key, unless another process was faster, and return the records with the new key."""
        taken = {record.key_id for _, record in records.keys} | {one.key_id for one in records.destroyed}
        record = await self._generate(_context(records.free), taken)
        await self._key_store.create(records.free.name, record)
        records = await self._key_store.of(records.free.tag)
        if not records.keys:
            raise KeyUnavailable(
                "the tenant's key was destroyed just after it was made", "Retry; check what else shreds keys."
            )
        return records

    async def _has_names(self) -> bool:
        """Return True if the name of a tenant's folder can be computed, or has to be. Writes nothing."""
        return (
            self._names is not None
            or await self._key_store.names() is not None
            or bool(await self._key_store.tags())
        )

    async def _tag(self, tenant: str) -> str:
        if self._names is None:
            await self._loading.run("names", self._load_names)
        assert self._names is not None
        digest = hmac.digest(self._names.secret, _TENANT_LABEL + tenant.encode(), "sha256")
        return digest[:_TAG_LENGTH].hex()

    async def _load_names(self) -> None:
        record = await self._key_store.names()
        if record is None:
            if await self._key_store.tags():
                raise IntegrityError(
                    f"{self._key_store!r} has keys of tenants, but the record {NAMES}, which is needed to find them, is gone",
                    "Restore it from a backup of the store. A new one would hide all existing keys.",
                )
            await self._key_store.create(NAMES, await self._generate(_NAMES_CONTEXT, ()))
            record = await self._key_store.names()
            if record is None:
                raise KeyUnavailable(
                    f"the record {NAMES} was deleted just after it was made",
                    "Retry; check what else deletes from the store.",
                )
        self._names = await self._unwrap(record, _NAMES_CONTEXT)

    async def _generate(self, context: Mapping[str, str], taken: Collection[str]) -> KeyRecord:
        while True:
            secret, wrapped = await self._ask(lambda: self._service.generate(_of_store(self._label, context)))
            key_id = Key(secret).id.hex()
            if key_id not in taken:
                return KeyRecord(
                    key_id=key_id,
                    label=self._label,
                    service=self._service.name,
                    wrapped=wrapped,
                    created_at=datetime.now(UTC),
                )

    async def _unwrap(self, record: KeyRecord, context: Mapping[str, str]) -> Key:
        """Return the key in a record, if it was wrapped for this store and place."""
        if record.label not in self._labels:
            raise IntegrityError(
                f"the key {record.key_id} was wrapped for the store {record.label!r}, and this is {self._label!r}",
                "It was copied here: delete it, or restore this store's own record. If the store was moved or renamed on "
                "purpose, add its old label to former_labels and run `coatcheck rekey`.",
            )
        service = self._services.get(record.service)
        if service is None:
            raise KeyUnavailable(
                f"the key {record.key_id} was wrapped by {record.service!r}, which is not configured here",
                "Add it as a decrypt-only key, or run `coatcheck rekey` where it is configured.",
            )
        secret = await self._ask(lambda: service.unwrap(record.wrapped, _of_store(record.label, context)))
        try:
            key = Key(secret)
        except ConfigError:
            key = None
        if key is None or key.id.hex() != record.key_id:
            raise IntegrityError(
                f"the record of the key {record.key_id} contains another key", "Restore the original record."
            )
        return key

    async def _rewrapped(self, record: KeyRecord, context: Mapping[str, str]) -> KeyRecord:
        key = await self._unwrap(record, context)
        wrapped = await self._ask(lambda: self._service.wrap(key.secret, _of_store(self._label, context)))
        again = record.model_copy(
            update={"label": self._label, "service": self._service.name, "wrapped": wrapped}
        )
        await self._unwrap(again, context)
        return again

    async def _ask(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Call a service, with retries."""
        return await retry(attempt, self._deadline, late=_silent)


def _context(version: KeyVersion) -> dict[str, str]:
    """Return the context that binds a key to its tenant and number, so that no record can pass for another."""
    return {"coatcheck": "tenant-key/v1", "tenant": version.tag, "number": str(version.number)}


def _of_store(label: str, context: Mapping[str, str]) -> dict[str, str]:
    return {"coatcheck-store": label, **context}


def _info(records: TenantKeyRecords, index: int) -> KeyInfo:
    version, record = records.keys[index]
    return KeyInfo(
        tenant_tag=version.tag,
        number=version.number,
        key_id=record.key_id,
        primary=index == len(records.keys) - 1,
        service=record.service,
        created_at=record.created_at,
    )


def _silent(seconds: float) -> KeyServiceError:
    return KeyServiceError(
        f"the key service gave no answer within {seconds:.3g} seconds",
        "Retry; check the key service and the network.",
    )


def _not_loaded() -> KeyUnavailable:
    return KeyUnavailable(
        "the tenant's key is not loaded",
        "Await chain.load_keys(tenant) first, and again after max_age; or use `async with chain.holding_keys(tenant)`.",
    )
