"""The sweep: list the store, ask the engine, mark what nobody knows, and delete what was marked a grace ago."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime
from typing import Final

from coatcheck.clock import uptime
from coatcheck.contracts import Store, StoredObject
from coatcheck.errors import LimitExceeded, StoreDenied, StoreUnavailable
from coatcheck.retention.addresses import Addresses
from coatcheck.retention.index import Index, ScopeFacts
from coatcheck.retention.latest import LatestCheckpoints
from coatcheck.retention.live import LiveScopes
from coatcheck.retention.pace import listed
from coatcheck.retention.reaper import Reaped, Reaper
from coatcheck.retention.report import Report
from coatcheck.retention.verdict import Rules, Verdict
from coatcheck.storage.access import DEFAULT_DEADLINE, retried
from coatcheck.storage.limiter import Limiter, limiter_of

DEFAULT_MAX_SHARE: Final = 0.2
_SCOPES_AT_ONCE: Final = 16
_LISTINGS: Final = 3
_LIVE_AT_ONCE: Final = 1000
_TOLD_EVERY: Final = 1000

Progress = Callable[[str, int], None]
"""Told what is being counted, and how many there are by now."""


class Sweep:
    """Frees what no run can reach any more. ``docs/retention.md`` says how, and why nothing else is lost.

    Nothing is kept between two sweeps but what stands in the store, so a sweep can be interrupted at any moment and begun
    again anywhere. Any number of them may run at once.

    Args:
        store: Swept.
        addresses: Of the chain whose payloads they are.
        live: Knows what is still needed; None where age alone decides, as with checkpoints.
        tenants: Whose scopes to look at; those of others are not even listed.
        rules: How long to wait.
        max_share: Of all objects, 0 to 1: if more than that would be marked or deleted, something is taken to be wrong.
        progress: Called in the event loop, often.
        limiter: Admits each request.
        part: Look only at scopes whose own tag (the second one in a key) begins with these hexadecimal digits.
        begun: When the sweep that this is a part of began, by the store's clock; None for now.
    """

    def __init__(
        self,
        store: Store,
        addresses: Addresses,
        live: LiveScopes | None,
        *,
        tenants: tuple[str, ...],
        rules: Rules,
        max_share: float = DEFAULT_MAX_SHARE,
        progress: Progress | None = None,
        limiter: Limiter | None = None,
        part: str = "",
        begun: datetime | None = None,
    ) -> None:
        self._store = store
        self._addresses = addresses
        self._live = live
        self._tenants = tenants
        self._rules = rules
        self._max_share = max_share
        self._progress = progress or _tell_nobody
        self._limiter = limiter or limiter_of(store)
        self._part = part
        self._begun = begun

    async def look(self) -> Report:
        """What a sweep would do now. Writes one small object, to learn the store's time, and removes it.

        Raises:
            KeyUnavailable: A key of a tenant cannot be had, so its scopes could not be told apart.
            StoreError: The store cannot or will not be listed.
            CoatcheckError: The engine cannot be asked.
        """
        return await self._run(delete=False)

    async def run(self) -> Report:
        """Mark, spare and delete. If it ends with an error, what was done until then was right.

        Raises:
            LimitExceeded: More than the share that is allowed is reached by no run. Nothing was done. Or it takes longer
                than half the grace.
            CoatcheckError: As :meth:`look`.
        """
        return await self._run(delete=True)

    async def _run(self, *, delete: bool) -> Report:
        begun = uptime()
        now = await store_time(self._store)
        if self._begun is not None:
            begun -= (now - self._begun).total_seconds()
            now = self._begun
        with await self._listed() as index:
            if self._live is not None and self._has_candidates(index, now):
                await self._ask(self._live, index)
            report = self._judged(index, now)
            if not delete:
                return report
            report.check_share(self._max_share)
            return await self._do(index, now, begun)

    async def _listed(self) -> Index:
        prefixes = await self._prefixes()
        for attempt in range(1, _LISTINGS + 1):
            index = Index()
            try:
                for prefix in prefixes:
                    await index.list(self._told(prefix + self._part))
            except StoreUnavailable:
                index.close()
                if attempt == _LISTINGS:
                    raise
            except BaseException:
                index.close()
                raise
            else:
                return index
        raise AssertionError("unreachable")

    async def _prefixes(self) -> list[str]:
        return sorted(
            {prefix for tenant in self._tenants for prefix in await self._addresses.of_tenant(tenant)}
        )

    async def _told(self, prefix: str) -> AsyncIterator[StoredObject]:
        count = 0
        async for entry in listed(self._store, prefix, self._limiter):
            count += 1
            if count % _TOLD_EVERY == 0:
                self._progress("objects listed", count)
            yield entry

    def _has_candidates(self, index: Index, now: datetime) -> bool:
        """Whether it makes a difference what the engine says."""
        quiet = (Verdict.YOUNG, Verdict.OTHER, Verdict.WAITING, Verdict.UNDER_WAY)
        return any(
            facts.tombstone is not None or self._rules.judge(facts, needed=False, now=now) not in quiet
            for facts, _ in index.scopes()
        )

    async def _ask(self, live: LiveScopes, index: Index) -> None:
        """Note what is needed. It is asked after the listing, so what began meanwhile is no worse than unlisted."""
        async for count in noted(live, self._addresses, index):
            self._progress("live scopes found", count)

    def _judged(self, index: Index, now: datetime) -> Report:
        report = Report(now, dry=True)
        for facts, needed in index.scopes():
            report.of(self._rules.judge(facts, needed=needed, now=now)).add(facts)
        return report

    async def _do(self, index: Index, now: datetime, begun: float) -> Report:
        report = Report(now, dry=False)
        latest = LatestCheckpoints(self._store, self._addresses)
        reaper = Reaper(self._store, latest, self._rules, now, self._limiter)
        places = asyncio.Semaphore(_SCOPES_AT_ONCE)
        done = 0

        async def treat(facts: ScopeFacts, verdict: Verdict, *, needed: bool) -> None:
            nonlocal done
            try:
                reaped = await _treated(reaper, facts, verdict, needed=needed)
            finally:
                places.release()
            report.of(reaped.verdict).add(facts)
            report.deleted += reaped.objects
            report.freed += reaped.size
            report.versions_left |= reaped.versions_left
            done += 1
            self._progress("scopes done", done)

        try:
            async with asyncio.TaskGroup() as group:
                for facts, needed in index.scopes():
                    verdict = self._rules.judge(facts, needed=needed, now=now)
                    if not verdict.acts:
                        report.of(verdict).add(facts)
                        continue
                    self._check_time(begun)
                    await places.acquire()
                    group.create_task(treat(facts, verdict, needed=needed))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return report

    def _check_time(self, begun: float) -> None:
        """What was old when the listing began must still be older than a tombstone by far when that is written."""
        if uptime() - begun > self._rules.grace.total_seconds() / 2:
            raise LimitExceeded("the sweep takes longer than half its grace", "Use a longer grace.")


async def noted(live: LiveScopes, addresses: Addresses, index: Index) -> AsyncIterator[int]:
    """Put what is live into an index; tells now and then how much it is so far."""
    count = 0
    batch: list[str] = []
    async for prefix in live.prefixes(addresses):
        batch.append(prefix)
        count += 1
        if len(batch) == _LIVE_AT_ONCE:
            index.add_live(batch)
            batch.clear()
            yield count
    index.add_live(batch)
    yield count


def _tell_nobody(what: str, done: int) -> None:
    """No progress is shown."""


async def _treated(reaper: Reaper, facts: ScopeFacts, verdict: Verdict, *, needed: bool) -> Reaped:
    match verdict:
        case Verdict.MARK:
            return await reaper.mark(facts)
        case Verdict.SPARE:
            return await reaper.spare(facts)
        case _:
            return await reaper.reap(facts, needed=needed)


async def store_time(store: Store) -> datetime:
    """What time it is by the store's clock: that of an object which is written for it, and removed again.

    Raises:
        StoreError: The store cannot or will not do it.
    """
    key = f"sweep/clock-{secrets.token_hex(8)}"
    await retried(lambda: store.create(key, b""), DEFAULT_DEADLINE)
    try:

        async def found() -> datetime:
            async for entry in store.list_objects(key):
                return entry.modified
            raise StoreUnavailable(
                "the store does not list what was just written to it", "Check what else deletes from it.", key
            )

        return await retried(found, DEFAULT_DEADLINE)
    finally:
        await retried(lambda: store.delete(key), DEFAULT_DEADLINE)
        with suppress(StoreDenied):
            await retried(lambda: store.delete_versions(key), DEFAULT_DEADLINE)
