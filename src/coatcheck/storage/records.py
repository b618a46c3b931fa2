"""Small named records of a scope, next to its objects: for example the state that belongs to a step.

An object is named by its content. A record's name has its position, to find it without reading it, and a code that only
holders of the key can compute, so that a listing shows which names are authentic. Both are never changed: a record is
created, and at some time deleted.
"""

import hmac
import itertools
import logging
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from coatcheck.contracts.store import StoredObject
from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    FormatError,
    IntegrityError,
    LimitExceeded,
    PayloadNotFound,
)
from coatcheck.format.suites import ScopeSealer, SealingPolicy
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.scope import Scope
from coatcheck.storage.client import StoreClient
from coatcheck.storage.scoped_store import ChainStore, forget_scope
from coatcheck.storage.sealed_records import open_record, seal_record

STEP: Final = "step-"
"""Start of the names of records."""
LAST_STEP: Final = 2**63 - 1
LAST_BRANCH: Final = 999_999
MAX_RECORD: Final = 64 * 1024
"""Bytes of a record, sealed."""

_BRANCH_DIGITS: Final = 6
_STEP_DIGITS: Final = 20
_DIGITS: Final = _BRANCH_DIGITS + _STEP_DIGITS
_HIGHEST_STEP: Final = 10**_STEP_DIGITS - 1
_CODE_LENGTH: Final = 8
_NAME: Final = re.compile(rf"{STEP}([0-9]{{{_BRANCH_DIGITS}}})([0-9]{{{_STEP_DIGITS}}})-([0-9a-f]{{16}})")
_PAGE: Final = 1000
"""Names in one page of a listing, as from S3."""
_SPARE: Final = 8
"""Names beyond the wanted number, so that a few that are not authentic cost no second request."""
_MOST_STRANGERS: Final = 10_000
"""Names that are not authentic and are skipped in one listing."""
_MOST_SAID: Final = 1024
"""Records of which it is remembered that they were logged."""

_log = logging.getLogger("coatcheck")
_said: OrderedDict[str, None] = OrderedDict()


class Position(NamedTuple):
    """The position of a record in its run. The greater of two was written later.

    A run begins as branch 0. Each time it continues from an earlier step, it does so as the next branch.
    """

    branch: int
    step: int


class Ledger:
    """The records of one scope. Safe to use from several threads and event loops; keeps nothing in memory.

    Records are written to the chain's first store under the primary key, and read from all stores under all keys, so a
    rotation hides nothing.

    Args:
        policy: Seals records.
        stores: The stores of the chain, the one for new objects first.
        scope: The scope of the records.

    Raises:
        ConfigError: There is no store.
    """

    def __init__(self, policy: SealingPolicy, stores: tuple[ChainStore, ...], scope: Scope) -> None:
        if not stores:
            raise ConfigError("the chain has no store", "Add Offload(store) to it.")
        self._policy = policy
        self._stores = stores
        self._scope = scope

    async def create(self, position: Position, record: bytes) -> bool:
        """Write a record, unless there is one at this position. It is durable when this returns.

        Args:
            position: The position of the record.
            record: The content.

        Returns:
            True if it was written now. False if there was one, or if the store's answer was lost: :meth:`find` it then.

        Raises:
            LimitExceeded: It is larger than :data:`MAX_RECORD` bytes when sealed.
            StoreError: The store cannot or will not take it.
        """
        # A sweep deletes by name, and a record that is written again after a sweep has the same name.
        await self.look_for_sweep()
        sealing = self._policy.for_new(self._scope)
        return await Records(self._stores[0].client, sealing).create(position, record)

    async def look_for_sweep(self) -> bool:
        """Make sure that no sweep deletes anything that the store shows in the scope after this. At most one request.

        Returns:
            False if this was known already. True if objects that were seen in the scope before may be gone.

        Raises:
            StoreUnavailable: The scope is being swept.
            StoreError: The store cannot or will not answer.
        """
        scoped = self._stores[0].scope(await self._policy.load_for_new(self._scope))
        if scoped.state.is_tenant_scope or scoped.state.is_confirmed:
            return False
        await scoped.look_for_sweep()
        return True

    async def newest(self, count: int, before: Position | None = None) -> "list[RecordEntry]":
        """Return the last records, the newest first, without reading them.

        Makes one listing for each store and key of the chain: one request if ``count`` is below about 1,000 and the store
        lists in key order. If a position exists several times, the one written last is returned. Names that are not
        authentic are skipped and logged.

        Args:
            count: Maximum number of records.
            before: Return only records before this position.

        Raises:
            LimitExceeded: More than 10,000 names are not authentic.
            StoreError: A store cannot or will not be listed.
        """
        found = await all_at_once(place.newest(count, before) for place in await self.places())
        latest: dict[Position, RecordEntry] = {}
        for entry in itertools.chain.from_iterable(found):
            known = latest.setdefault(entry.position, entry)
            if entry.stored.modified > known.stored.modified:
                latest[entry.position] = entry
        return sorted(latest.values(), key=_position_of, reverse=True)[:count]

    async def get(self, entry: "RecordEntry") -> bytes:
        """Return the content of a record, authentic and whole. A damaged record is fetched a second time.

        Raises:
            FormatError: It is not a record of a known version.
            IntegrityError: It was not written under this name.
            LimitExceeded: It has more than :data:`MAX_RECORD` bytes.
            PayloadNotFound: It was deleted since it was listed.
            StoreError: The store cannot or will not return it.
        """
        return await entry.records.get(entry)

    async def find(self, position: Position) -> list[tuple[str, bytes]]:
        """Return the records at a position with their keys: at most one for each store and key of the chain.

        Raises:
            CoatcheckError: As :meth:`get`; ``PayloadNotFound`` only if no store has one.
        """
        places = await self.places()
        found = await all_at_once(_or_error(place, position) for place in places)
        records = [
            (place.key(position), record)
            for place, record in zip(places, found, strict=True)
            if isinstance(record, bytes)
        ]
        errors = [error for error in found if isinstance(error, CoatcheckError)]
        if not records:
            raise next((error for error in errors if not isinstance(error, PayloadNotFound)), errors[0])
        return records

    async def begin(self, newest: Position | None) -> None:
        """Forget what this process knows about the scope if its newest record is older than the one known here.

        The run was then deleted, and perhaps begun again: objects may be gone, and must not be used as bases.

        Args:
            newest: The position of the newest record in the store; None if there is none.

        Raises:
            KeyUnavailable: A key of the tenant cannot be loaded now.
        """
        sealing = await self._policy.load_for_new(self._scope)
        await self._policy.load_all(self._scope.tenant)
        known = self._stores[0].scope(sealing).state.newest_record
        if newest is None or (known is not None and newest < known):
            self.forget()

    def reached(self, newest: Position) -> None:
        """Remember the position of the newest record, for :meth:`begin`."""
        self._stores[0].scope(self._policy.for_new(self._scope)).state.newest_record = newest

    def forget(self) -> None:
        """Forget everything that this process knows about the scope."""
        for sealing in self._policy.all_for(self._scope):
            forget_scope(sealing)

    async def places(self) -> "list[Records]":
        """Return the records of each store and key of the chain.

        Raises:
            KeyUnavailable: A key of the tenant cannot be loaded now.
        """
        await self._policy.load_all(self._scope.tenant)
        sealings = self._policy.all_for(self._scope)
        return [Records(store.client, sealing) for store in self._stores for sealing in sealings]


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """One record in a listing, with an authentic name."""

    position: Position
    stored: StoredObject
    records: "Records"


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one scope under one key in one store. Methods raise as those of :class:`Ledger`."""

    client: StoreClient
    scope: ScopeSealer

    def key(self, position: Position) -> str:
        """Return the key of the record at a position.

        Raises:
            ConfigError: The position is out of range.
        """
        return self.scope.prefix + self._name(position)

    def entry(self, stored: StoredObject) -> RecordEntry | None:
        """Return a listed object as a record; None if its name is not authentic."""
        name = stored.key.removeprefix(self.scope.prefix)
        parts = _NAME.fullmatch(name)
        if parts is None or not hmac.compare_digest(parts[3], self._code(name[: -len(parts[3]) - 1])):
            return None
        return RecordEntry(Position(LAST_BRANCH - int(parts[1]), _HIGHEST_STEP - int(parts[2])), stored, self)

    async def create(self, position: Position, record: bytes) -> bool:
        """See :meth:`Ledger.create`."""
        name = self._name(position)
        sealed = seal_record(self.scope, name, record)
        if len(sealed) > MAX_RECORD:
            raise LimitExceeded(
                f"a record has {len(sealed)} bytes, {MAX_RECORD} are allowed", "Report this as a bug."
            )
        return await self.client.create(self.scope.prefix + name, sealed)

    async def newest(self, count: int, before: Position | None = None) -> list[RecordEntry]:
        """See :meth:`Ledger.newest`."""
        prefix = self.scope.prefix
        starts = [STEP] if before is None else list(_after(self._name(before), STEP, ""))
        found: list[RecordEntry] = []
        strangers = 0
        size = min(count + _SPARE, _PAGE)
        while starts and len(found) < count:
            start = starts.pop()
            page = await self.client.list_first(prefix + start, size)
            for stored in page:
                entry = self.entry(stored)
                if entry is not None:
                    found.append(entry)
                else:
                    strangers += 1
                    if strangers <= _SPARE:
                        say_once(stored.key, "its name is not authentic. Find out who may write to the store")
            if strangers > _MOST_STRANGERS:
                raise LimitExceeded(
                    f"more than {_MOST_STRANGERS} names below {prefix}{STEP} are not authentic",
                    "Find out who may write to the store, and delete those objects.",
                )
            if len(page) == size:
                last = page[-1].key.removeprefix(prefix)
                starts += _after(last, start, self._code(last[: len(STEP) + _DIGITS]))
            size = _PAGE if strangers else size
        return found[:count]

    async def get(self, entry: RecordEntry) -> bytes:
        """See :meth:`Ledger.get`."""
        return await self.at(entry.position)

    async def at(self, position: Position) -> bytes:
        """Return the record at a position. Raises as :meth:`Ledger.get`."""
        try:
            return await self._get(position)
        except (FormatError, IntegrityError):
            # Try again: it may have been damaged in transit only.
            return await self._get(position)

    async def delete(self, position: Position) -> None:
        """Delete the record. Does nothing if there is none."""
        await self.client.delete(self.key(position))

    async def _get(self, position: Position) -> bytes:
        name = self._name(position)
        key = self.scope.prefix + name
        # A record can be deleted and written again: a copy or a replica may still have the earlier one.
        data = await self.client.get_uncached(key, 0, MAX_RECORD)
        try:
            return open_record(self.scope, name, data)
        except CoatcheckError as error:
            raise error.about(key)  # noqa: B904 - the same error, with the record named

    def _name(self, position: Position) -> str:
        branch, step = position
        if not (0 <= branch <= LAST_BRANCH and 0 <= step <= LAST_STEP):
            raise ConfigError(
                f"there is no step {step} in branch {branch}",
                f"Use steps 0 to {LAST_STEP} and branches 0 to {LAST_BRANCH}.",
            )
        # Inverted, so that the newest comes first in a listing.
        place = f"{STEP}{LAST_BRANCH - branch:0{_BRANCH_DIGITS}}{_HIGHEST_STEP - step:0{_STEP_DIGITS}}"
        return f"{place}-{self._code(place)}"

    def _code(self, place: str) -> str:
        named = b"coatcheck/v1/record-name/" + self.scope.run_tag + place.encode("ascii", "replace")
        return self.scope.sealer.mac(named)[:_CODE_LENGTH].hex()


def say_once(key: str, what: str) -> None:
    """Log once for each record that it is skipped.

    Args:
        key: The record's key in the store.
        what: The reason.
    """
    if key not in _said:
        _said[key] = None
        if len(_said) > _MOST_SAID:
            _said.popitem(last=False)
        _log.warning("The record %s is skipped: %s", key, what)


async def _or_error(place: Records, position: Position) -> bytes | CoatcheckError:
    try:
        return await place.at(position)
    except (FormatError, IntegrityError, LimitExceeded, PayloadNotFound) as error:
        return error


def _position_of(entry: RecordEntry) -> Position:
    return entry.position


def _after(name: str, start: str, code: str) -> Iterator[str]:
    """Yield prefixes of all authentic names that begin with ``start`` and come after ``name``; the last of them first.

    A store lists keys that begin with a prefix, not those after a key. So the names after one are those that share its
    first digits and then have a greater digit.

    Args:
        name: Any name, authentic or not.
        start: The prefix of ``name`` that was listed.
        code: The code of the authentic name with the digits of ``name``; empty to leave that name out.
    """
    digits = re.match("[0-9]*", name[len(STEP) : len(STEP) + _DIGITS])
    length = len(STEP) + (digits.end() if digits else 0)
    for end in range(len(start), min(length, len(name) - 1) + 1):
        if end < len(STEP) + _DIGITS:
            yield from (name[:end] + digit for digit in "9876543210" if digit > name[end])
    if length == len(name) < len(STEP) + _DIGITS:
        yield from (name + digit for digit in "9876543210")
    proper = f"{name[:length]}-{code}"
    if code and length == len(STEP) + _DIGITS and proper > name:
        yield proper
