"""Marking, sparing and deleting one scope. Each step is one object in the store, so any of them can be the last."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from coatcheck.clock import uptime
from coatcheck.concurrency import all_at_once
from coatcheck.contracts import Store, StoredObject
from coatcheck.errors import FormatError, IntegrityError, PayloadNotFound, StoreDenied, StoreUnavailable
from coatcheck.retention.index import ScopeFacts
from coatcheck.retention.latest import LatestCheckpoints
from coatcheck.retention.pace import listed
from coatcheck.retention.verdict import TAKEN_OVER_AFTER, Rules, Verdict
from coatcheck.storage.access import DEFAULT_DEADLINE, retried
from coatcheck.storage.limiter import Limiter, limiter_of
from coatcheck.storage.markers import ALIVE, TOMBSTONE, claim, deleting, is_sweeps_own

_T = TypeVar("_T")

_OWNED_FOR: Final = TAKEN_OVER_AFTER.total_seconds() / 2
"""Seconds after a claim during which its owner acts on it. Longer than any request of its can be under way."""
_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True)
class Reaped:
    """What became of a scope."""

    verdict: Verdict
    objects: int = 0
    """Deleted."""
    size: int = 0
    """Bytes of those."""
    versions_left: bool = False
    """The store may keep versions of them, which it did not allow to delete."""


class _GivenUpError(Exception):
    """The claim may soon be taken over, or nobody knows what became of a request."""


class Reaper:
    """Does what was decided of scopes. For any number of tasks.

    Args:
        store: Where they are.
        latest: Knows what checkpoints need.
        rules: By which it was decided, and is decided once more.
        now: By the store's clock, from before it was listed.
        limiter: Admits each request.
    """

    def __init__(
        self,
        store: Store,
        latest: LatestCheckpoints,
        rules: Rules,
        now: datetime,
        limiter: Limiter | None = None,
    ) -> None:
        self._store = store
        self._latest = latest
        self._limiter = limiter or limiter_of(store)
        self._rules = rules
        self._now = now

    async def mark(self, facts: ScopeFacts) -> Reaped:
        """Write the tombstone, in place of one that means nothing any more.

        Raises:
            StoreError: The store cannot or will not do it, as for the other methods.
        """
        await self._ask(lambda: self._store.replace(facts.prefix + TOMBSTONE, b""))
        return Reaped(Verdict.MARK)

    async def spare(self, facts: ScopeFacts) -> Reaped:
        """Write what a writer writes. The tombstone stays: only who owns the scope may remove it.

        Else one sweep could remove it while another deletes, and a writer would see nothing of that.
        """
        await self._ask(lambda: self._store.replace(facts.prefix + ALIVE, b""))
        return Reaped(Verdict.SPARE)

    async def reap(self, facts: ScopeFacts, *, needed: bool) -> Reaped:
        """Look once more, and delete what was there when the scope was marked.

        Of several sweeps one does it: the one whose claim is the next. If it is interrupted, the scope stays claimed:
        nobody can take the half that is left for the whole, and an hour later the next sweep goes on.

        Args:
            facts: What the listing said.
            needed: The engine knows a run of the scope.
        """
        owner = _Ownership(facts.prefix, 0 if facts.claim is None else facts.claim + 1, uptime())
        if not await self._create(facts.prefix + claim(owner.number)):
            return Reaped(Verdict.UNDER_WAY)
        try:
            return await self._reap(owner, needed=needed)
        except _GivenUpError:
            return Reaped(Verdict.UNDER_WAY)

    async def _reap(self, owner: "_Ownership", *, needed: bool) -> Reaped:
        last = ScopeFacts(owner.prefix)
        async for entry in listed(self._store, owner.prefix, self._limiter):
            last.add(entry.key.removeprefix(owner.prefix), entry)
        if last.deleting is not None:
            # Another sweep began. Whatever was written since relies on nothing that is older.
            return await self._finish(owner, last.keep, last.deleting - self._rules.grace)
        keep = self._rules.keep_of(last, self._now)
        if last.tombstone is None or needed or keep is None or self._rules.was_written_to(last):
            await self._withdraw(owner, TOMBSTONE)
            return Reaped(Verdict.SPARE)
        if self._now - last.tombstone < self._rules.grace:
            # Not the one that was listed: another sweep spared the scope, and marked it anew.
            await self._withdraw(owner)
            return Reaped(Verdict.WAITING)
        return await self._finish(owner, keep, last.tombstone - self._rules.grace)

    async def _finish(self, owner: "_Ownership", keep: int, until: datetime) -> Reaped:
        """Delete what was last written up to ``until``, but for what the latest ``keep`` checkpoints need."""
        marks = (TOMBSTONE, deleting(keep))
        try:
            needed = await self._latest.needed(owner.prefix, keep)
        except (FormatError, IntegrityError, PayloadNotFound):
            await self._withdraw(owner, *marks)
            return Reaped(Verdict.UNREADABLE)
        owner.check()
        await self._create(owner.prefix + deleting(keep))
        objects = size = 0
        batch: list[StoredObject] = []
        async for entry in self._old(owner.prefix, until):
            if entry.key in needed:
                continue
            batch.append(entry)
            if len(batch) == _AT_ONCE:
                await self._delete_owned(owner, batch)
                objects, size, batch = objects + len(batch), size + sum(one.size for one in batch), []
        await self._delete_owned(owner, batch)
        await self._withdraw(owner, *marks)
        versions_left = not await self._delete_versions(owner.prefix)
        done = Verdict.TRIM if keep else Verdict.DELETE
        return Reaped(done, objects + len(batch), size + sum(one.size for one in batch), versions_left)

    async def _delete_versions(self, prefix: str) -> bool:
        """Whether it was allowed. It takes no ownership: whatever is written meanwhile is another version."""
        try:
            await self._ask(lambda: self._store.delete_versions(prefix))
        except StoreDenied:
            return False
        return True

    async def _old(self, prefix: str, until: datetime) -> AsyncIterator[StoredObject]:
        async for entry in listed(self._store, prefix, self._limiter):
            if not is_sweeps_own(entry.key.removeprefix(prefix)) and entry.modified <= until:
                yield entry

    async def _delete_owned(self, owner: "_Ownership", batch: list[StoredObject]) -> None:
        owner.check()
        await all_at_once(self._delete_once(entry.key) for entry in batch)

    async def _withdraw(self, owner: "_Ownership", *marks: str) -> None:
        """Remove marks, then the claims: the first claim last, since it stands for all of them."""
        for name in (*marks, *(claim(number) for number in range(owner.number, -1, -1))):
            owner.check()
            await self._delete(owner.prefix + name)

    async def _create(self, key: str) -> bool:
        return await self._ask(lambda: self._store.create(key, b""))

    async def _delete(self, key: str) -> None:
        await self._ask(lambda: self._store.delete(key))

    async def _delete_once(self, key: str) -> None:
        """Without another attempt: if only the answer of the first was lost, that could delete what was written since.

        Raises:
            _GivenUpError: There was no answer. The scope stays claimed for as long as the request can be on its way.
        """
        try:
            async with self._limiter.hold(0), asyncio.timeout(DEFAULT_DEADLINE):
                await self._store.delete(key)
        except (TimeoutError, StoreUnavailable):
            raise _GivenUpError from None

    async def _ask(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        return await retried(attempt, DEFAULT_DEADLINE, limiter=self._limiter)


@dataclass(frozen=True, slots=True)
class _Ownership:
    prefix: str
    number: int
    since: float
    """By :func:`~coatcheck.clock.uptime`, from before the claim was made."""

    def check(self) -> None:
        """See that there is time left for a request.

        Raises:
            _GivenUpError: There is not.
        """
        if uptime() - self.since > _OWNED_FOR:
            raise _GivenUpError
