"""What is in a store: how much, whose, how old, and what deltas save."""

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
"""Up to which age, by name. What is older is called :data:`OLDER`."""
OLDER: Final = "older"
_AT_ONCE: Final = 16
_TOLD_EVERY: Final = 1000


class Kind(StrEnum):
    """What something in a store is."""

    OBJECT = "object"
    """A payload."""
    RECORD = "record"
    """Of a checkpoint."""
    MARK = "mark"
    """A sweep's, or a writer's answer to one."""
    OTHER = "other"
    """Wrapped keys, and what coatcheck did not write."""


@dataclass(slots=True)
class Amount:
    """Several of them."""

    count: int = 0
    size: int = 0
    """Bytes."""

    def add(self, size: int) -> None:
        """Count one more."""
        self.count += 1
        self.size += size


@dataclass(slots=True)
class Sample:
    """What the headers of some objects say, each as likely to be among them as any other."""

    whole: Amount = field(default_factory=Amount)
    """Objects that need no other."""
    whole_payloads: int = 0
    """Bytes of the payloads in those."""
    deltas: Amount = field(default_factory=Amount)
    delta_payloads: int = 0
    """Bytes of the payloads in those."""

    @property
    def saved(self) -> float | None:
        """Bytes that deltas save for each byte that objects take; None where no whole object tells what they would take.

        Each delta is taken to compress, as a whole, as the whole objects of the sample do.
        """
        stored = self.whole.size + self.deltas.size
        if not self.whole_payloads or not stored:
            return None
        return (self.delta_payloads * self.whole.size / self.whole_payloads - self.deltas.size) / stored


@dataclass(slots=True)
class Usage:
    """Of one store."""

    by_kind: defaultdict[Kind, Amount] = field(default_factory=lambda: defaultdict(Amount))
    by_tenant: defaultdict[str, Amount] = field(default_factory=lambda: defaultdict(Amount))
    """By name where it is known, else by what stands for it in keys. Without what is of no tenant."""
    by_age: dict[str, Amount] = field(default_factory=lambda: {name: Amount() for name in (*AGES, OLDER)})
    """Of objects and records."""
    sample: Sample = field(default_factory=Sample)


class Census:
    """Lists a whole store, and reads a few of its objects. Memory grows with the number of tenants alone.

    Args:
        store: Looked at.
        tenants: Their names, by what their keys begin with.
        sample: How many objects to read for what deltas save.
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
        """What there is.

        Args:
            now: From which ages are counted.

        Raises:
            StoreError: The store cannot or will not be listed, or give an object.
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
            return  # deleted since it was listed, or damaged: `coatcheck verify` tells of that
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
