"""Storage of wrapped keys: their records, names and tombstones."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from sys import maxsize
from typing import Annotated, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from coatcheck.contracts.store import Store
from coatcheck.errors import FormatError, LimitExceeded, PayloadNotFound
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.client import StoreClient
from coatcheck.storage.conditions import check_create_conditions

NAMES: Final = "keys/names"
"""The record of the key from which the names of tenants' folders are derived."""
_FOLDERS: Final = "keys/"
_DESTROYED: Final = ".destroyed"
_ENTRY: Final = re.compile(rf"keys/([0-9a-f]{{32}})/([0-9]{{8}})({re.escape(_DESTROYED)})?")
_NO_ID: Final = "0" * 8
"""Id in the tombstone of a key whose record could not be read when it was destroyed."""
_LISTING_SECONDS: Final = 600.0
"""Deadline for a listing of all tenants, which has a page for each 1,000 records or so."""
_RECORD_SIZE: Final = 1024
"""Bytes of a typical record, for the limiter."""
MAX_RECORD: Final = 16 * 1024
"""Bytes; real records have a few hundred."""
_KeyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")]


def unreadable(name: str) -> FormatError:
    """Return the error for a record that coatcheck did not write, or a later release did."""
    return FormatError(
        "a record of a wrapped key cannot be read",
        "Restore it from a backup of the store, or upgrade coatcheck.",
        name,
    )


class _Record(BaseModel):
    # This release must be able to read records to which a later one adds fields.
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_bytes="base64", val_json_bytes="base64")

    version: Literal[1] = 1
    key_id: _KeyId
    """Hexadecimal, as in headers."""

    def to_bytes(self) -> bytes:
        """Return the record as JSON."""
        return self.model_dump_json().encode()

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Self:
        """Read the output of :meth:`to_bytes`.

        Args:
            data: The bytes.
            name: The record's key in the store, for the error.

        Raises:
            FormatError: ``data`` is not such a record, or of a later version.
        """
        try:
            if len(data) <= MAX_RECORD:
                return cls.model_validate_json(data)
        except ValidationError:
            pass
        # Raised out here so that the original is not chained: it quotes the data.
        raise unreadable(name)


class KeyRecord(_Record):
    """A wrapped key, and the service that can unwrap it. Nothing in it is secret, and nothing in it is trusted.

    Wrapping binds the key to the label and to the record's name, and its id is a fingerprint of itself, so a record that
    was moved, swapped or edited does not unwrap.
    """

    label: Annotated[str, Field(max_length=64)]
    """The label of the store that it was wrapped for."""
    service: Annotated[str, Field(max_length=512)]
    """The name of the :class:`~coatcheck.keys.kms.KeyService` key that wrapped it."""
    wrapped: bytes
    created_at: AwareDatetime
    """Time by the clock of the process that made the key."""


class Tombstone(_Record):
    """A record of a key that was destroyed on purpose."""

    destroyed_at: AwareDatetime


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """The tenant and number of a key. The key with the highest number is the primary."""

    tag: str
    """32 hexadecimal digits that stand for the tenant, and reveal nothing about its name."""
    number: int
    """From 1. Never reused, not even after the key was destroyed."""

    @property
    def name(self) -> str:
        """The record's key in the store."""
        return f"{_FOLDERS}{self.tag}/{self.number:08}"

    @property
    def tombstone(self) -> str:
        """The tombstone's key in the store."""
        return self.name + _DESTROYED

    def after(self) -> "KeyVersion":
        """Return the tenant's next version."""
        return KeyVersion(self.tag, self.number + 1)


@dataclass(frozen=True, slots=True)
class TenantKeyRecords:
    """The records in a tenant's folder."""

    keys: Sequence[tuple[KeyVersion, KeyRecord]]
    """Keys by number, the primary last."""
    destroyed: Sequence[Tombstone]
    free: KeyVersion
    """The version for the next key."""


class KeyStore:
    """The wrapped keys of all tenants in one store. Safe to use from several event loops; keeps nothing in memory.

    Records are written by create-if-absent, so if two processes make the same one, both use the first. Copies that a store
    makes for itself are dropped, so that a destroyed key is destroyed everywhere.

    Args:
        store: The store for the keys.
        deadline: Seconds for one call to the store, including all retries.
    """

    def __init__(self, store: Store, deadline: float) -> None:
        self._client = StoreClient(store, deadline)
        self._listing = StoreClient(store, _LISTING_SECONDS)

    def __repr__(self) -> str:
        return repr(self._client.store)

    async def of(self, tag: str) -> TenantKeyRecords:
        """Return the records of a tenant. Makes one listing, and one read for each record.

        Raises:
            FormatError: A record cannot be read.
            StoreError: The store cannot or will not return it.
        """
        found = await self._versions(f"{_FOLDERS}{tag}/")
        live = sorted(
            (version for version in found if not found[version]), key=lambda version: version.number
        )
        buried = [version for version in found if found[version]]
        records = await all_at_once(self._read(version) for version in live)
        tombstones = await all_at_once(self._get(version.tombstone) for version in buried)
        last = max((version.number for version in found), default=0)
        return TenantKeyRecords(
            [(version, record) for version, record in zip(live, records, strict=True) if record is not None],
            [
                Tombstone.from_bytes(data, version.tombstone)
                for version, data in zip(buried, tombstones, strict=True)
                if data is not None
            ],
            KeyVersion(tag, last + 1),
        )

    async def tags(self) -> list[str]:
        """Return the tags of all tenants that have a key, sorted. Raises as :meth:`of`."""
        found = await self._versions(_FOLDERS)
        return sorted({version.tag for version in found if not found[version]})

    async def create(self, name: str, record: KeyRecord) -> bool:
        """Write a record, unless one of this name exists. Returns True if it was written now.

        Raises:
            ConfigError: The store would overwrite an existing one: see :func:`check_create_conditions`.
            StoreError: The store cannot or will not take it.
        """
        await check_create_conditions(self._client.store)
        created = await self._client.create(name, record.to_bytes())
        await self._client.forget(name)
        return created

    async def replace(self, version: KeyVersion, record: KeyRecord) -> bool:
        """Replace a record by another wrapping of the same key. Returns False if the key was destroyed meanwhile.

        Raises:
            StoreError: The store cannot or will not take it.
        """
        await self._client.replace(version.name, record.to_bytes())
        await self._client.forget(version.name)
        # To destroy a key, its tombstone is written first, then its record is deleted. If the record was written again
        # between the two, it is deleted there; if after both, here.
        if await self._get(version.tombstone) is None:
            return True
        await self._client.delete(version.name)
        return False

    async def replace_names(self, record: KeyRecord) -> None:
        """Replace the record :data:`NAMES`. Raises as :meth:`replace`."""
        await self._client.replace(NAMES, record.to_bytes())
        await self._client.forget(NAMES)

    async def names(self) -> KeyRecord | None:
        """Return the record :data:`NAMES`; None if there is none. Raises as :meth:`of`."""
        data = await self._get(NAMES)
        return None if data is None else KeyRecord.from_bytes(data, NAMES)

    async def destroy(self, tag: str) -> list[str]:
        """Delete all records of a tenant; each leaves a tombstone, so that it is not written again. Raises as :meth:`of`.

        Returns:
            The ids of the destroyed keys, the primary's last.
        """
        versions = await self._versions(f"{_FOLDERS}{tag}/")
        return [
            await self._destroy(version)
            for version in sorted(versions, key=lambda version: version.number)
            if not versions[version]
        ]

    async def _destroy(self, version: KeyVersion) -> str:
        data = await self._get(version.name)
        try:
            key_id = _NO_ID if data is None else KeyRecord.from_bytes(data, version.name).key_id
        except FormatError:
            key_id = _NO_ID
        tombstone = Tombstone(key_id=key_id, destroyed_at=datetime.now(UTC))
        await self._client.create(version.tombstone, tombstone.to_bytes())
        await self._client.forget(version.tombstone)
        await self._client.delete(version.name)
        await self._client.forget(version.name)
        return key_id

    async def close(self) -> None:
        """Close the store."""
        await self._client.close()

    async def _versions(self, prefix: str) -> dict[KeyVersion, bool]:
        """Return the versions below a prefix; True if the key was destroyed."""
        found: dict[KeyVersion, bool] = {}
        for stored in await self._listing.list_up_to(maxsize, prefix):
            entry = _ENTRY.fullmatch(stored.key)
            if entry:
                version = KeyVersion(entry[1], int(entry[2]))
                found[version] = found.get(version, False) or bool(entry[3])
        return found

    async def _read(self, version: KeyVersion) -> KeyRecord | None:
        data = await self._get(version.name)
        return None if data is None else KeyRecord.from_bytes(data, version.name)

    async def _get(self, name: str) -> bytes | None:
        await self._client.forget(name)
        try:
            return await self._client.get(name, _RECORD_SIZE, MAX_RECORD)
        except PayloadNotFound:
            return None
        except LimitExceeded:
            raise unreadable(name) from None
        finally:
            await self._client.forget(name)
