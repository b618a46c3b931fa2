"""Actions on one scope: mark, spare and delete. Each step is one object in the store, so it can be interrupted anywhere."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from coatcheck.contracts.store import Store, StoredObject
from coatcheck.errors import (
    FormatError,
    IntegrityError,
    LimitExceeded,
    PayloadNotFound,
    StoreDenied,
    StoreUnavailable,
)
from coatcheck.format.layout import is_object
from coatcheck.format.suites import ScopeSealer
from coatcheck.retention.index import ScopeFacts
from coatcheck.retention.kept_checkpoints import LatestCheckpoints
from coatcheck.retention.marks import Marks
from coatcheck.retention.rate_limit import REQUEST_SECONDS, listed
from coatcheck.retention.rules import TAKEN_OVER_AFTER, Action, RetentionRules
from coatcheck.runtime.clock import boottime
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.client import StoreClient
from coatcheck.storage.limiter import Limiter, limiter_of
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.sweep_marks import (
    LAST_LEASE,
    MARK_ID_LENGTH,
    SWEEP_ALIVE,
    SWEEP_MARK,
    SweepMark,
    deleting,
    deleting_of,
    lease,
    lease_of,
    seal_mark,
)

_OWNED_FOR: Final = TAKEN_OVER_AFTER.total_seconds() / 2
"""Seconds after a claim in which its owner may act. Longer than any of its requests can be under way."""
_AT_ONCE: Final = 32
_SORTED: Final = 10_000
"""Objects in one batch, which is deleted newest first."""


@dataclass(slots=True)
class Reaped:
    """The result of an action on a scope."""

    action: Action
    objects: int = 0
    """Number of deleted objects."""
    size: int = 0
    """Bytes of deleted objects."""
    denied: int = 0
    """Number of objects that the store did not allow to delete."""
    versions_left: bool = False
    """True if the store may keep versions of deleted objects, and did not allow to delete those."""


@dataclass(frozen=True, slots=True)
class StoreClock:
    """The store's clock, which was read once and advances since."""

    begun: datetime
    """The store's time when it was read."""
    since: float
    """The same moment by :func:`~coatcheck.runtime.clock.boottime`."""

    def now(self) -> datetime:
        """Return the store's time now."""
        return self.begun + timedelta(seconds=self.elapsed)

    @property
    def elapsed(self) -> float:
        """Seconds since it was read."""
        return boottime() - self.since


class _GivenUpError(Exception):
    """The claim may soon be taken over, or the result of a request is unknown."""


class Reaper:
    """Performs actions on scopes. For any number of tasks.

    Args:
        store: The store with the scopes.
        prefixes: The prefixes of their tenants, already loaded.
        rules: Decide again, by a second look, before anything is deleted.
        clock: The store's clock, read before the store was listed.
        limiter: Admits each request.
    """

    def __init__(
        self,
        store: Store,
        prefixes: ScopePrefixes,
        rules: RetentionRules,
        clock: "StoreClock",
        limiter: Limiter | None = None,
    ) -> None:
        self._store = store
        self._prefixes = prefixes
        self._latest = LatestCheckpoints(store, prefixes, limiter)
        self._client = StoreClient(store, REQUEST_SECONDS, limiter)
        self._marks = Marks(self._client, prefixes)
        self._limiter = limiter or limiter_of(store)
        self._rules = rules
        self._clock = clock

    async def mark(self, facts: ScopeFacts) -> Reaped:
        """Write the mark, or replace one that is void.

        The new mark keeps the id of the old one, so that a lease that another sweep may still have belongs to it.

        Raises:
            StoreError: The store cannot or will not do it, as for the other methods.
        """
        scope = await self._prefixes.sealer_at(facts.prefix)
        made = self._clock.now()
        mark_id = facts.marks.mark or secrets.token_bytes(MARK_ID_LENGTH)
        await self._seal(scope, SWEEP_MARK, SweepMark(mark_id, made, made - self._rules.grace))
        return Reaped(Action.MARK)

    async def spare(self, facts: ScopeFacts) -> Reaped:
        """Protect the scope as a writer does. The mark stays: only the owner of the scope may remove it.

        Otherwise one sweep could remove it while another deletes, and a writer would not notice.
        """
        await self._client.replace(facts.prefix + SWEEP_ALIVE, b"")
        return Reaped(Action.SPARE)

    async def reap(self, facts: ScopeFacts, *, needed: bool) -> Reaped:
        """Look again, and delete the objects that were there when the scope was marked.

        Of several sweeps only the one that creates the next lease does it. If it is interrupted, the scope stays claimed, so
        that nobody mistakes the remaining half for the whole; an hour later the next sweep continues.

        Args:
            facts: The facts from the listing.
            needed: True if the engine knows a run of the scope.
        """
        mark_id = facts.marks.owner or facts.marks.mark
        assert mark_id is not None
        scope = await self._prefixes.sealer_at(facts.prefix)
        owner = _Ownership(scope, mark_id, facts.marks.highest + 1, boottime())
        if owner.number > LAST_LEASE:
            return Reaped(Action.FORGED)
        name = lease(mark_id, owner.number)
        made = self._clock.now()
        sealed = seal_mark(scope, name, SweepMark(mark_id, made, made))
        if not await self._client.create(facts.prefix + name, sealed):
            return Reaped(Action.UNDER_WAY)
        done = Reaped(Action.UNDER_WAY)
        try:
            await self._reap(owner, done, needed=needed)
        except _GivenUpError:
            done.action = Action.UNDER_WAY
        return done

    async def _reap(self, owner: "_Ownership", done: Reaped, *, needed: bool) -> None:
        last = ScopeFacts(owner.prefix)
        async for entry in listed(self._store, owner.prefix, self._limiter):
            last.add(entry.key.removeprefix(owner.prefix), entry)
        owner.leases = [name for name in last.names if (lease_of(name) or (b"",))[0] == owner.mark_id]
        began = [name for name in last.names if (deleting_of(name) or (b"",))[0] == owner.mark_id]
        marks = last.marks = await self._marks.read(owner.prefix, last.names)
        if marks.unread:
            raise _GivenUpError
        ours = marks.mark == owner.mark_id
        if marks.owner == owner.mark_id and marks.deletes_until is not None:
            # Another sweep has begun to delete. Objects that were written since do not rely on older ones.
            if needed:
                await self._repair(owner, marks.deletes_until, done)
                await self._withdraw(owner, *began, *([SWEEP_MARK] if ours else []))
                done.action = Action.SPARE
            else:
                await self._finish(owner, marks.keep, marks.deletes_until, done)
            return
        keep = self._rules.keep_of(last, self._clock.begun)
        if not ours or marks.due is None or needed or keep is None or self._rules.was_written_to(last):
            await self._withdraw(owner, *began, *([SWEEP_MARK] if ours else []))
            done.action = Action.SPARE
        elif self._clock.begun - marks.due < self._rules.grace:
            # The scope has changed since it was listed: it was written to, and another sweep renewed the mark.
            await self._withdraw(owner, *began)
            done.action = Action.WAITING
        else:
            assert marks.until is not None
            await self._finish(owner, keep, marks.until, done)

    async def _finish(self, owner: "_Ownership", keep: int, until: datetime, done: Reaped) -> None:
        """Delete objects written up to ``until``, except those that the latest ``keep`` checkpoints need."""
        name = deleting(owner.mark_id, keep)
        try:
            needed = await self._latest.needed(owner.prefix, keep)
        except (FormatError, IntegrityError, LimitExceeded, PayloadNotFound):
            await self._withdraw(owner, name, SWEEP_MARK)
            done.action = Action.UNREADABLE
            return
        owner.check()
        await self._seal(owner.scope, name, SweepMark(owner.mark_id, self._clock.now(), until))
        if not await self._delete_all(owner, until, needed, done):
            # The newest object may not be deleted yet, so nothing was, and the scope is whole. A later sweep marks it
            # again. If this mark stayed, another sweep could at once create a lease of the name that is removed here.
            await self._withdraw(owner, name, SWEEP_MARK)
            done.action = Action.DENIED
        elif done.denied:
            # Other objects are built on deleted ones: the scope stays claimed, and the next sweep tries again.
            done.action = Action.DENIED
        else:
            await self._withdraw(owner, name, SWEEP_MARK)
            done.versions_left = not await self._delete_versions(owner.prefix)
            done.action = Action.TRIM if keep else Action.DELETE

    async def _delete_all(
        self, owner: "_Ownership", until: datetime, needed: frozenset[str], done: Reaped
    ) -> bool:
        """Delete the objects. Return False if the first was denied, so that nothing was deleted."""
        some: list[StoredObject] = []
        first = True
        async for entry in self._old(owner, until):
            if entry.key not in needed:
                some.append(entry)
            if len(some) == _SORTED:
                if not await self._delete_some(owner, some, done, first=first):
                    return False
                some, first = [], False
        return await self._delete_some(owner, some, done, first=first)

    async def _delete_some(
        self, owner: "_Ownership", some: list[StoredObject], done: Reaped, *, first: bool
    ) -> bool:
        """Delete objects, newest first: a delta is newer than its bases, and a store locks the newest objects longest."""
        some.sort(key=lambda entry: entry.modified, reverse=True)
        start = 0
        while start < len(some):
            batch = some[start : start + (1 if first and start == 0 else _AT_ONCE)]
            owner.check()
            gone = await all_at_once(self._delete_once(entry.key) for entry in batch)
            for entry, was_allowed in zip(batch, gone, strict=True):
                done.objects += was_allowed
                done.size += entry.size * was_allowed
                done.denied += not was_allowed
            if first and start == 0 and done.denied:
                return False
            start += len(batch)
        return True

    async def _repair(self, owner: "_Ownership", until: datetime, done: Reaped) -> None:
        """Delete objects that cannot be opened any more, in a scope that is half deleted and has a run again.

        The others stay, since the run may need them. But a writer must not find a delta whose base is gone.
        """
        objects: dict[str, StoredObject] = {}
        async for entry in listed(self._store, owner.prefix, self._limiter):
            if is_object(entry.key.removeprefix(owner.prefix)):
                objects[entry.key] = entry
        broken = [
            entry for entry in await self._latest.broken(objects, owner.prefix) if entry.modified <= until
        ]
        await self._delete_some(owner, broken, done, first=False)

    async def _delete_versions(self, prefix: str) -> bool:
        """Delete old versions, and return True if that was allowed. Needs no claim: a new object is another version."""
        try:
            await self._client.delete_versions(prefix)
        except StoreDenied:
            return False
        return True

    async def _old(self, owner: "_Ownership", until: datetime) -> AsyncIterator[StoredObject]:
        async for entry in listed(self._store, owner.prefix, self._limiter):
            name = entry.key.removeprefix(owner.prefix)
            named = lease_of(name) or deleting_of(name)
            if entry.modified <= until and name != SWEEP_MARK and (named or (b"",))[0] != owner.mark_id:
                yield entry

    async def _withdraw(self, owner: "_Ownership", *marks: str) -> None:
        """Remove marks, then the leases: the first lease last, since it stands for all of them.

        The mark of the deletion is removed first: writers do not notice it without the other mark.
        """
        numbers = {0, owner.number, *(number for _, number in filter(None, map(lease_of, owner.leases)))}
        for name in (*marks, *(lease(owner.mark_id, number) for number in sorted(numbers, reverse=True))):
            owner.check()
            await self._delete(owner.prefix + name)

    async def _seal(self, scope: ScopeSealer, name: str, mark: SweepMark) -> None:
        sealed = seal_mark(scope, name, mark)
        await self._client.replace(scope.prefix + name, sealed)

    async def _delete(self, key: str) -> None:
        await self._client.delete(key)

    async def _delete_once(self, key: str) -> bool:
        """Delete an object in one attempt, and return True if it was allowed: a retry could delete a newer object.

        Raises:
            _GivenUpError: There was no answer. The scope stays claimed as long as the request can be under way.
        """
        try:
            async with self._client.within(0), self._limiter.hold(0):
                await self._store.delete(key)
        except StoreDenied:
            return False
        except StoreUnavailable:
            raise _GivenUpError from None
        return True


@dataclass(slots=True)
class _Ownership:
    scope: ScopeSealer
    mark_id: bytes
    number: int
    since: float
    """Time before the lease was made, by :func:`~coatcheck.runtime.clock.boottime`."""
    leases: list[str] = field(default_factory=list)
    """Names of all leases of the mark."""

    @property
    def prefix(self) -> str:
        return self.scope.prefix

    def check(self) -> None:
        """Check that there is time left for a request.

        Raises:
            _GivenUpError: There is none.
        """
        if boottime() - self.since > _OWNED_FOR:
            raise _GivenUpError
