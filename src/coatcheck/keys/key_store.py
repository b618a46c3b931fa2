"""Where wrapped keys are in a store, and how they come and go there."""

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
"""The record of the key that tenants' folders are named with."""
_FOLDERS: Final = "keys/"
_DESTROYED: Final = ".destroyed"
_ENTRY: Final = re.compile(rf"keys/([0-9a-f]{{32}})/([0-9]{{8}})({re.escape(_DESTROYED)})?")
_NO_ID: Final = "0" * 8
"""Of a key whose record could not be read when it was destroyed."""
_LISTING_SECONDS: Final = 600.0
"""A listing of all tenants has a page for each 1,000 records or so."""
_RECORD_SIZE: Final = 1024
"""Bytes, for the limiter: about what a record comes to."""
MAX_RECORD: Final = 16 * 1024
"""Bytes; real ones have a few hundred."""
_KeyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")]


def unreadable(name: str) -> FormatError:
    """Return the error for a record that is none of ours, or of a later release."""
    return FormatError(
        "a record of a wrapped key cannot be read",
        "Restore it from a backup of the store, or upgrade coatcheck.",
        name,
    )


class _Record(BaseModel):
    # What a later release adds must not keep this one from reading it.
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_bytes="base64", val_json_bytes="base64")

    version: Literal[1] = 1
    key_id: _KeyId
    """Hexadecimal, as in headers."""

    def to_bytes(self) -> bytes:
        """JSON."""
        return self.model_dump_json().encode()

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Self:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            FormatError: ``data`` is no such record, or one of a later version.
        """
        try:
            if len(data) <= MAX_RECORD:
                return cls.model_validate_json(data)
        except ValidationError:
            pass
        # Out here, so that the original does not hang on to it: it quotes what it was given.
        raise unreadable(name)


class KeyRecord(_Record):
    """A wrapped key, and by what it can be unwrapped. Nothing in it is secret, and nothing in it is trusted.

    The key is bound to the label and to the record's name when it is wrapped, and its id is a fingerprint of itself, so a record that was
    moved, exchanged or edited unwraps to nothing.
    """

    label: Annotated[str, Field(max_length=64)]
    """The label of the store that it was wrapped for."""
    service: Annotated[str, Field(max_length=512)]
    """The name of the :class:`~coatcheck.keys.kms.KeyService` key that wrapped it."""
    wrapped: bytes
    created_at: AwareDatetime
    """By the clock of the process that made the key."""


class Tombstone(_Record):
    """What is left of a key that was destroyed on purpose."""

    destroyed_at: AwareDatetime


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """A place for one key of a tenant. The key with the highest number is the primary."""

    tag: str
    """32 hexadecimal digits that stand for the tenant, and tell nothing about its name."""
    number: int
    """From 1. Never used again, not even after the key was destroyed."""

    @property
    def name(self) -> str:
        """The record's key in the store."""
        return f"{_FOLDERS}{self.tag}/{self.number:08}"

    @property
    def tombstone(self) -> str:
        """The tombstone's key in the store."""
        return self.name + _DESTROYED

    def after(self) -> "KeyVersion":
        """The next one of the tenant."""
        return KeyVersion(self.tag, self.number + 1)


@dataclass(frozen=True, slots=True)
class TenantKeyRecords:
    """What a tenant's folder holds."""

    keys: Sequence[tuple[KeyVersion, KeyRecord]]
    """By number, the primary last."""
    destroyed: Sequence[Tombstone]
    free: KeyVersion
    """For the next key."""


class KeyStore:
    """The wrapped keys of all tenants in one store. Safe to use from several event loops; keeps nothing in memory.

    A record is made by create-if-absent, so of two processes that make the same one, the second meets the first one's.
    Copies that a store makes for itself are dropped: a key that is destroyed must be so everywhere.

    Args:
        store: Where they are.
        deadline: Seconds for one call to the store, all its attempts together.
    """

    def __init__(self, store: Store, deadline: float) -> None:
        self._client = StoreClient(store, deadline)
        self._listing = StoreClient(store, _LISTING_SECONDS)

    def __repr__(self) -> str:
        return repr(self._client.store)

    async def of(self, tag: str) -> TenantKeyRecords:
        """What there is for a tenant: one listing, and a read for each record.

        Raises:
            FormatError: A record cannot be read.
            StoreError: The store cannot or will not give it.
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
        """Of all tenants that have a key, sorted."""
        found = await self._versions(_FOLDERS)
        return sorted({version.tag for version in found if not found[version]})

    async def create(self, name: str, record: KeyRecord) -> bool:
        """Write a record if there is none of this name; whether it was written now.

        Raises:
            ConfigError: The store would overwrite one that is there: see :func:`check_create_conditions`.
            StoreError: The store cannot or will not take it.
        """
        await check_create_conditions(self._client.store)
        created = await self._client.create(name, record.to_bytes())
        await self._client.forget(name)
        return created

    async def replace(self, version: KeyVersion, record: KeyRecord) -> bool:
        """Put a record in place of the one that wraps the same key; ``False`` if that was destroyed meanwhile."""
        await self._client.replace(version.name, record.to_bytes())
        await self._client.forget(version.name)
        # A key is destroyed by its tombstone, then by the removal of its record. Whichever of the two ways the record
        # came back between them, it goes again: here, or there.
        if await self._get(version.tombstone) is None:
            return True
        await self._client.delete(version.name)
        return False

    async def replace_names(self, record: KeyRecord) -> None:
        """Put a record in place of the one called :data:`NAMES`."""
        await self._client.replace(NAMES, record.to_bytes())
        await self._client.forget(NAMES)

    async def names(self) -> KeyRecord | None:
        """The record called :data:`NAMES`; None if there is none."""
        data = await self._get(NAMES)
        return None if data is None else KeyRecord.from_bytes(data, NAMES)

    async def destroy(self, tag: str) -> list[str]:
        """Remove all records of a tenant; each leaves a tombstone, so that nobody puts it back.

        Returns:
            The ids of the keys that are gone, the primary's last.
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
        """Whether each was destroyed."""
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
