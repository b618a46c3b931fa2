"""Usage of a store: amounts by kind, tenant and age, and the savings of deltas."""

import random
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from coatcheck.contracts.store import Store, StoredObject
from coatcheck.errors import FormatError, PayloadNotFound
from coatcheck.format.envelope import Envelope
from coatcheck.format.layout import is_object, is_record, split
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.runtime.progress import Progress
from coatcheck.storage.client import StoreClient
from coatcheck.storage.sweep_marks import SWEEP_ALIVE, is_sweeps_own

AGES: Final = {
    "1d": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "90d": timedelta(days=90),
}
"""Upper limits of the age classes. Everything older is in the class :data:`OLDER`."""
OLDER: Final = "older"
_AT_ONCE: Final = 16
_TOLD_EVERY: Final = 1000


class Kind(StrEnum):
    """The kind of an object in a store."""

    OBJECT = "object"
    """A payload."""
    RECORD = "record"
    """The record of a checkpoint."""
    MARK = "mark"
    """A mark of a sweep, or a writer's answer to one."""
    OTHER = "other"
    """A wrapped key, or an object that coatcheck did not write."""


@dataclass(slots=True)
class Amount:
    """Number and size of some objects."""

    count: int = 0
    size: int = 0
    """Bytes."""

    def add(self, size: int) -> None:
        """Add one object of ``size`` bytes."""
        self.count += 1
        self.size += size


@dataclass(slots=True)
class Sample:
    """Amounts from the headers of a uniform random sample of objects."""

    whole: Amount = field(default_factory=Amount)
    """Objects without bases."""
    whole_payloads: int = 0
    """Bytes of their payloads."""
    deltas: Amount = field(default_factory=Amount)
    delta_payloads: int = 0
    """Bytes of their payloads."""

    @property
    def saved(self) -> float | None:
        """Bytes that deltas save for each stored byte; None if the sample has no whole object to compare with.

        Assumes that the payloads of deltas would compress like the whole objects of the sample.
        """
        stored = self.whole.size + self.deltas.size
        if not self.whole_payloads or not stored:
            return None
        return (self.delta_payloads * self.whole.size / self.whole_payloads - self.deltas.size) / stored


@dataclass(slots=True)
class Usage:
    """Usage of one store."""

    by_kind: defaultdict[Kind, Amount] = field(default_factory=lambda: defaultdict(Amount))
    by_tenant: defaultdict[str, Amount] = field(default_factory=lambda: defaultdict(Amount))
    """Amounts by tenant: its name if known, else its tag in keys. Objects of no tenant are left out."""
    by_age: dict[str, Amount] = field(default_factory=lambda: {name: Amount() for name in (*AGES, OLDER)})
    """Amounts of objects and records by age class."""
    sample: Sample = field(default_factory=Sample)


class Census:
    """Lists a whole store, and reads a few of its objects. Memory grows only with the number of tenants.

    Args:
        store: The store to list.
        tenants: Names of tenants by the prefix of their keys.
        sample: Number of objects to read for :class:`Sample`.
        progress: Called in the event loop, often.
    """

    def __init__(
        self,
        store: Store,
        tenants: Mapping[str, str],
        *,
        sample: int,
        progress: Progress | None = None,
    ) -> None:
        self._store = store
        self._client = StoreClient(store)
        self._tenants = tenants
        self._sample = sample
        self._progress = progress

    async def usage(self, now: datetime) -> Usage:
        """Return the usage of the store.

        Args:
            now: The time from which ages are counted.

        Raises:
            StoreError: The store cannot or will not be listed, or return an object.
        """
        usage = Usage()
        chosen: list[StoredObject] = []
        async for entry in self._told():
            kind, tenant = self._whose(entry.key)
            usage.by_kind[kind].add(entry.size)
            if tenant:
                usage.by_tenant[tenant].add(entry.size)
            if kind in (Kind.OBJECT, Kind.RECORD):
                usage.by_age[_age(now - entry.modified)].add(entry.size)
            if kind is Kind.OBJECT:
                _choose(chosen, entry, usage.by_kind[kind].count, self._sample)
        for start in range(0, len(chosen), _AT_ONCE):
            await all_at_once(self._read(usage.sample, entry) for entry in chosen[start : start + _AT_ONCE])
        return usage

    async def _told(self) -> AsyncIterator[StoredObject]:
        count = 0
        async for entry in self._store.list_objects():
            count += 1
            if self._progress and count % _TOLD_EVERY == 0:
                self._progress("objects listed", count)
            yield entry

    def _whose(self, key: str) -> tuple[Kind, str]:
        place = split(key)
        if place is None:
            return Kind.OTHER, ""
        prefix, name = place
        tag = f"{prefix.partition('/')[0]}/"
        return _kind(name), self._tenants.get(tag, tag.removesuffix("/"))

    async def _read(self, sample: Sample, entry: StoredObject) -> None:
        try:
            header = Envelope.from_bytes(await self._client.get(entry.key, entry.size)).header
        except (PayloadNotFound, FormatError):
            return  # deleted since it was listed, or damaged, which `coatcheck verify` reports
        if header.bases:
            sample.deltas.add(entry.size)
            sample.delta_payloads += header.size
        else:
            sample.whole.add(entry.size)
            sample.whole_payloads += header.size


def _kind(name: str) -> Kind:
    if is_object(name):
        return Kind.OBJECT
    if is_record(name):
        return Kind.RECORD
    return Kind.MARK if is_sweeps_own(name) or name == SWEEP_ALIVE else Kind.OTHER


def _age(age: timedelta) -> str:
    return next((name for name, limit in AGES.items() if age <= limit), OLDER)


def _choose(chosen: list[StoredObject], entry: StoredObject, count: int, size: int) -> None:
    """Keep ``size`` of ``count`` entries, all equally likely: algorithm R (Vitter, 1985)."""
    if len(chosen) < size:
        chosen.append(entry)
        return
    place = random.randrange(count)  # noqa: S311 - a sample hides nothing
    if place < size:
        chosen[place] = entry
