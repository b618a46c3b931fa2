"""Marking, sparing and deleting one scope. Each step is one object in the store, so any of them can be the last."""

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
from coatcheck.retention.rules import TAKEN_OVER_AFTER, Action, Rules
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
"""Seconds after a claim during which its owner acts on it. Longer than any request of its can be under way."""
_AT_ONCE: Final = 32
_SORTED: Final = 10_000
"""Objects that are deleted newest first."""


@dataclass(slots=True)
class Reaped:
    """What became of a scope."""

    action: Action
    objects: int = 0
    """Deleted."""
    size: int = 0
    """Bytes of those."""
    denied: int = 0
    """Objects that the store did not allow to delete."""
    versions_left: bool = False
    """The store may keep versions of them, which it did not allow to delete."""


@dataclass(frozen=True, slots=True)
class StoreClock:
    """The store's clock, as it was read once, and goes on since."""

    begun: datetime
    """The time that it showed then."""
    since: float
    """When that was, by :func:`~coatcheck.runtime.clock.boottime`."""

    def now(self) -> datetime:
        """Return what it says by now."""
        return self.begun + timedelta(seconds=self.elapsed)

    @property
    def elapsed(self) -> float:
        """Seconds."""
        return boottime() - self.since


class _GivenUpError(Exception):
    """The claim may soon be taken over, or nobody knows what became of a request."""


class Reaper:
    """Does what was decided of scopes. For any number of tasks.

    Args:
        store: Where they are.
        prefixes: Of their tenants, which were asked for before.
        rules: By which it was decided, and is decided once more.
        clock: The store's, read before it was listed.
        limiter: Admits each request.
    """

    def __init__(
        self,
        store: Store,
        prefixes: ScopePrefixes,
        rules: Rules,
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
        """Write the mark, in place of one that means nothing any more.

        That keeps its id, so that a lease which somebody may still hold goes with it.

        Raises:
            StoreError: The store cannot or will not do it, as for the other methods.
        """
        scope = await self._prefixes.sealer_at(facts.prefix)
        made = self._clock.now()
        mark_id = facts.marks.mark or secrets.token_bytes(MARK_ID_LENGTH)
        await self._seal(scope, SWEEP_MARK, SweepMark(mark_id, made, made - self._rules.grace))
        return Reaped(Action.MARK)

    async def spare(self, facts: ScopeFacts) -> Reaped:
        """Write what a writer writes. The mark stays: only who owns the scope may remove it.

        Else one sweep could remove it while another deletes, and a writer would see nothing of that.
        """
        await self._client.replace(facts.prefix + SWEEP_ALIVE, b"")
        return Reaped(Action.SPARE)

    async def reap(self, facts: ScopeFacts, *, needed: bool) -> Reaped:
        """Look once more, and delete what was there when the scope was marked.

        Of several sweeps one does it: the one whose lease is the next. If it is interrupted, the scope stays claimed:
        nobody can take the half that is left for the whole, and an hour later the next sweep goes on.

        Args:
            facts: What the listing said.
            needed: The engine knows a run of the scope.
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
            # Another sweep began. Whatever was written since relies on nothing that is older.
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
            # Not as it was listed: somebody wrote to the scope, and another sweep renewed the mark.
            await self._withdraw(owner, *began)
            done.action = Action.WAITING
        else:
            assert marks.until is not None
            await self._finish(owner, keep, marks.until, done)

    async def _finish(self, owner: "_Ownership", keep: int, until: datetime, done: Reaped) -> None:
        """Delete what was last written up to ``until``, but for what the latest ``keep`` checkpoints need."""
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
            # The newest may not go yet, so nothing did, and all that is left is whole. It is marked anew. If this mark
            # stayed, another sweep could make a lease at once that has the name of the one which goes here.
            await self._withdraw(owner, name, SWEEP_MARK)
            done.action = Action.DENIED
        elif done.denied:
            # Others build on what is gone: the scope stays claimed, and the next sweep tries again.
            done.action = Action.DENIED
        else:
            await self._withdraw(owner, name, SWEEP_MARK)
            done.versions_left = not await self._delete_versions(owner.prefix)
            done.action = Action.TRIM if keep else Action.DELETE

    async def _delete_all(
        self, owner: "_Ownership", until: datetime, needed: frozenset[str], done: Reaped
    ) -> bool:
        """Delete them, and tell if the first was allowed, so that more than none may be gone."""
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
        """Newest first: a delta is written after what it builds on, and a store locks what is new for longest."""
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
        """Delete what nobody can open any more, of a scope that is half gone and has a run by now.

        The rest stays: it may be what the run needs. But a writer must not find a delta whose base is gone.
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
        """Whether it was allowed. It takes no ownership: whatever is written meanwhile is another version."""
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

        Of the marks, the one that deletes comes first: without a mark beside it, writers would not see that it is there.
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
        """Delete it once, and tell if that was allowed: another attempt could delete what was written since.

        Raises:
            _GivenUpError: There was no answer. The scope stays claimed for as long as the request can be on its way.
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
    """By :func:`~coatcheck.runtime.clock.boottime`, from before the lease was made."""
    leases: list[str] = field(default_factory=list)
    """The names of all leases that go with the mark."""

    @property
    def prefix(self) -> str:
        return self.scope.prefix

    def check(self) -> None:
        """See that there is time left for a request.

        Raises:
            _GivenUpError: There is not.
        """
        if boottime() - self.since > _OWNED_FOR:
            raise _GivenUpError
