"""Small named records of a scope, kept next to its objects.

An object is named by its content and never changes; a record has a name that can be foretold, and can be replaced. So
records say where things are, and objects hold them.
"""

import re
from dataclasses import dataclass
from typing import Final

from coatcheck.concurrency import all_at_once
from coatcheck.contracts import StoredObject
from coatcheck.errors import CoatcheckError, ConfigError, IntegrityError, LimitExceeded
from coatcheck.format.envelope import Envelope, EnvelopeHeader
from coatcheck.format.suites import ScopeSealer, Suites
from coatcheck.scope import Scope
from coatcheck.storage.access import Access
from coatcheck.storage.storeroom import Storeroom

_NAME: Final = re.compile(r"[a-z]{1,20}-[0-9]{20}")
"""Has a hyphen and fewer than 64 characters, so that it is never taken for an object id; sorts as its number does."""
_MAX_RECORDS: Final = 100_000
"""In one listing."""


class Ledger:
    """The records of one scope. Safe to use from several threads and event loops; keeps nothing in memory.

    Records are written to the chain's store under its primary key, and read from all of its stores, under all of the
    keys that it can open something with: a rotation hides nothing.

    Args:
        suites: What records are sealed with.
        storerooms: The chain's, the one that it writes to first.
        scope: Whose records.

    Raises:
        ConfigError: There is no store.
    """

    def __init__(self, suites: Suites, storerooms: tuple[Storeroom, ...], scope: Scope) -> None:
        if not storerooms:
            raise ConfigError("this chain has no store", "Add Offload(store) to it.")
        self._suites = suites
        self._storerooms = storerooms
        self._scope = scope

    async def put(self, name: str, record: bytes) -> None:
        """Write a record, in place of the one of this name if there is one. It is durable when this returns.

        Of several writers at once one comes last, and its record stays.

        Args:
            name: Letters, a hyphen, and a number in 20 digits: ``step-00000000000000000042``. Not secret.
            record: Best a few hundred bytes: every one that is listed is usually read.

        Raises:
            ConfigError: That is no name.
            StoreError: The store cannot or will not take it.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name[:80]!r} is no name of a record", "Use letters, a hyphen and 20 digits.")
        if self._suites.loads_keys:
            await self._suites.sealing.load_primary(self._scope.tenant)
        room, sealer = self._storerooms[0], self._suites.sealer_for_new(self._scope)
        # A sweep deletes by name, and a record keeps its name when it is replaced.
        await room.confirm(room.scope(sealer.sealer, sealer.run_tag).presence)
        await Records(room.access, sealer).put(name, record)

    async def entries(self, start: str = "") -> "list[Entry]":
        """What there is, by name, without reading it: one listing for each store and key of the chain.

        A name that is there several times comes once, as it was written last.

        Args:
            start: What the names begin with; a whole name to find the one.

        Raises:
            LimitExceeded: There are more than 100,000.
            StoreError: A store cannot or will not be listed.
        """
        if self._suites.loads_keys:
            await self._suites.sealing.load_all(self._scope.tenant)
        sealers = self._suites.sealers(self._scope)
        places = [Records(room.access, sealer) for room in self._storerooms for sealer in sealers]
        found = await all_at_once(place.entries(start) for place in places)
        latest: dict[str, Entry] = {}
        for entry in (entry for entries in found for entry in entries):
            known = latest.setdefault(entry.name, entry)
            if entry.stored.modified > known.stored.modified:
                latest[entry.name] = entry
        return [latest[name] for name in sorted(latest)]

    async def get(self, entry: "Entry") -> bytes:
        """The record, authentic and whole.

        Raises:
            FormatError: What is there is no record of a version known here.
            IntegrityError: It is not what was written under this name.
            PayloadNotFound: It was removed since it was listed.
            StoreError: The store cannot or will not give it.
        """
        return await entry.records.get(entry)


@dataclass(frozen=True, slots=True)
class Entry:
    """One record in a listing."""

    name: str
    stored: StoredObject
    records: "Records"


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one scope that are sealed under one key, in one store. Raises as :class:`Ledger`."""

    access: Access
    scope: ScopeSealer

    async def put(self, name: str, record: bytes) -> None:
        """See :meth:`Ledger.put`."""
        sealed = self.scope.sealer.seal(self._header_for(record).to_bytes(), _context(name), record)
        await self.access.replace(self.scope.prefix + name, sealed)

    async def entries(self, start: str) -> "list[Entry]":
        """Those whose names begin with ``start``, by name."""
        found = await self.access.list_up_to(_MAX_RECORDS + 1, self.scope.prefix + start)
        if len(found) > _MAX_RECORDS:
            raise LimitExceeded(f"the scope has more than {_MAX_RECORDS} records", "Use a run of its own.")
        names = (stored.key.removeprefix(self.scope.prefix) for stored in found)
        listed = [
            Entry(name, stored, self)
            for name, stored in zip(names, found, strict=True)
            if _NAME.fullmatch(name)
        ]
        return sorted(listed, key=lambda entry: entry.name)

    async def get(self, entry: Entry) -> bytes:
        """See :meth:`Ledger.get`."""
        # A record can be replaced elsewhere: what a store keeps for itself of it may be an older one.
        await self.access.forget(entry.stored.key)
        data = await self.access.get(entry.stored.key, entry.stored.size)
        try:
            envelope = Envelope.from_bytes(data)
            record = bytes(
                self.scope.sealer.open(envelope.header_bytes, _context(entry.name), envelope.sealed)
            )
            if envelope.header != self._header_for(record):
                raise IntegrityError(
                    "the record was not written for this run", "Restore the original record."
                )
        except CoatcheckError as error:
            raise error.about(entry.stored.key)  # noqa: B904 - the same error, with the record named
        return record

    def _header_for(self, record: bytes) -> EnvelopeHeader:
        scope = self.scope
        return EnvelopeHeader(scope.suite, scope.key_id, scope.run_tag, (), size=len(record))


def _context(name: str) -> bytes:
    """The context of an envelope that is the record with this name: it can pass for no other, and for no object."""
    return b"\x02" + name.encode("ascii")
