"""The sweep: list the store, ask the engine, mark scopes that it does not know, and delete those whose grace is over."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from coatcheck.contracts.store import Store, StoredObject
from coatcheck.errors import CoatcheckError, ConfigError, LimitExceeded, StoreDenied, StoreUnavailable
from coatcheck.retention.index import Index, ScopeFacts
from coatcheck.retention.live import LiveRuns, LiveScopes, Origin
from coatcheck.retention.marks import Marks
from coatcheck.retention.origins import Origins
from coatcheck.retention.other_keys import OtherKeys
from coatcheck.retention.rate_limit import REQUEST_SECONDS, listed
from coatcheck.retention.reaper import Reaped, Reaper, StoreClock
from coatcheck.retention.rules import Action, RetentionRules
from coatcheck.retention.tally import Report
from coatcheck.runtime.clock import boottime
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.runtime.progress import Progress
from coatcheck.scope import engine_code
from coatcheck.storage.client import StoreClient
from coatcheck.storage.conditions import PROBE_FOLDER, check_create_conditions
from coatcheck.storage.limiter import Limiter, limiter_of
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.store_time import CLOCKS, store_time

DEFAULT_MAX_SHARE: Final = 0.2
_SCOPES_AT_ONCE: Final = 16
_LISTINGS: Final = 3
_LIVE_AT_ONCE: Final = 1000
_TOLD_EVERY: Final = 1000
_MOST_FAILURES: Final = 20
"""Scopes in a row that failed, after which the sweep ends: the fault is then not in the scopes."""
_LEFT_FOR: Final = timedelta(days=1)
_LEFT_AT_ONCE: Final = 100

_log = logging.getLogger("coatcheck")


class Sweep:
    """Deletes objects that no run can reach any more. ``docs/retention.md`` says how, and why nothing else is lost.

    All state between sweeps is in the store, so a sweep can be interrupted at any time and started again anywhere. Any
    number of sweeps may run at once. For one event loop.

    Args:
        store: The store to sweep.
        prefixes: The prefixes of the chain that wrote the payloads.
        live: Knows the live scopes; None if age alone decides, as with checkpoints.
        engine: The engine whose scopes to sweep, as in :class:`~coatcheck.scope.Scope`. Scopes of other engines, and tenant
            scopes, are not even listed.
        tenants: The tenants whose scopes to sweep.
        rules: The times and numbers by which it decides.
        max_share: Share of all objects, 0 to 1. If more would be deleted, now or after the grace, the sweep is refused.
        progress: Called in the event loop, often.
        limiter: Admits each request.
        part: Sweep only scopes whose run tag (the second tag in a key) has these hexadecimal digits after the engine's code.
        begun: Start of the whole sweep of which this is a part, by the store's clock; None for now.
        moved: True if the engine's cluster or namespace may differ from those of earlier sweeps.
        no_runs: Tenants for which the engine may rightly show no runs at all.

    Raises:
        ConfigError: ``engine`` is empty: scopes that callers name themselves can be swept only if they name an engine.
    """

    def __init__(
        self,
        store: Store,
        prefixes: ScopePrefixes,
        live: LiveScopes | None,
        *,
        engine: str,
        tenants: tuple[str, ...],
        rules: RetentionRules,
        max_share: float = DEFAULT_MAX_SHARE,
        progress: Progress | None = None,
        limiter: Limiter | None = None,
        part: str = "",
        begun: datetime | None = None,
        moved: bool = False,
        no_runs: Collection[str] = (),
    ) -> None:
        self._store = store
        self._prefixes = prefixes
        self._live = live
        if not engine:
            raise ConfigError("the engine is empty", "Give the scopes an engine: Scope(..., engine='mine').")
        self._engine = engine
        self._tenants = tenants
        self._rules = rules
        self._max_share = max_share
        self._progress = progress or _tell_nobody
        self._limiter = limiter or limiter_of(store)
        self._part = part
        self._begun = begun
        self._moved = moved
        self._no_runs = frozenset(no_runs)
        self._origins = Origins(StoreClient(store, REQUEST_SECONDS, limiter), prefixes, engine)

    async def look(self) -> Report:
        """Return what a sweep would do now. Writes one small object, to learn the store's time, and deletes it.

        Raises:
            ConfigError: The store was swept for another cluster or namespace before, or the engine shows nothing at all.
            KeyUnavailable: A key of a tenant cannot be loaded, so its scopes cannot be recognised.
            StoreError: The store cannot or will not be listed.
            CoatcheckError: The engine cannot be asked.
        """
        return await self._run(delete=False)

    async def run(self) -> Report:
        """Mark, spare and delete. If it ends with an error, all actions until then were right.

        An error in one scope is reported as the action of that scope, and logged.

        Raises:
            ConfigError: As :meth:`look`; or two creates of one object succeed in the store.
            LimitExceeded: More than the allowed share of the objects would be deleted, and nothing was done. Or the sweep
                takes longer than half the grace.
            CoatcheckError: As :meth:`look`.
        """
        return await self._run(delete=True)

    async def _run(self, *, delete: bool) -> Report:
        origins, known = await self._known_origins()
        since = boottime()
        now = await store_time(self._store)
        if self._begun is not None:
            since -= (now - self._begun).total_seconds()
            now = self._begun
        clock = StoreClock(now, since)
        with await self._listed() as index:
            await self._read_marks(index)
            if self._live is not None and await self._has_candidates(index, now):
                await self._ask(self._live, index)
            if self._live is None:
                others = OtherKeys(self._store, self._prefixes, self._engine, self._rules, self._limiter)
                index.add_live([prefix async for prefix in others.young(index, now)])
            report = await self._judged(index, now)
            found = {
                tenant
                for tenant in self._tenants
                if any(map(index.has, await self._prefixes.of_tenant(tenant)))
            }
            if not delete:
                report.found = sorted(found | known)
                return report
            report.check_share(self._max_share)
            # Without conditional creates, two sweeps could own one scope.
            await check_create_conditions(self._store)
            await self._origins.remember(origins, found & origins.keys())
            await clean_up(self._store, now)
            done = await self._do(index, clock)
            done.found = sorted(found | known)
            return done

    async def _known_origins(self) -> tuple[Mapping[str, Origin], set[str]]:
        """Return the origins of runs, and the tenants of earlier sweeps. For a part of a sweep, the whole checks them."""
        if isinstance(self._live, LiveRuns):
            origins: Mapping[str, Origin] = await self._live.origins()
        elif self._live is None:
            origins = {tenant: Origin() for tenant in self._tenants}
        else:
            return {}, set()
        return origins, await self._origins.check(origins, moved=self._moved)

    async def _listed(self) -> Index:
        prefixes = await self._engine_prefixes()
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

    async def _engine_prefixes(self) -> list[str]:
        return sorted(
            {
                f"{prefix}{engine_code(self._engine):02x}"
                for tenant in self._tenants
                for prefix in await self._prefixes.of_tenant(tenant)
            }
        )

    async def _told(self, prefix: str) -> AsyncIterator[StoredObject]:
        count = 0
        async for entry in listed(self._store, prefix, self._limiter):
            count += 1
            if count % _TOLD_EVERY == 0:
                self._progress("objects listed", count)
            yield entry

    async def _read_marks(self, index: Index) -> None:
        """Read all marks, one bounded request for each."""
        marks = Marks(StoreClient(self._store, REQUEST_SECONDS, self._limiter), self._prefixes)
        batch: list[tuple[str, Mapping[str, datetime]]] = []

        async def read() -> None:
            for (prefix, _), found in zip(
                batch, await all_at_once(marks.read(prefix, names) for prefix, names in batch), strict=True
            ):
                index.set_marks(prefix, found)
            batch.clear()

        count = 0
        async for prefix, names in index.marked():
            batch.append((prefix, names))
            count += 1
            if len(batch) == _SCOPES_AT_ONCE:
                await read()
                self._progress("marks read", count)
        await read()

    async def _has_candidates(self, index: Index, now: datetime) -> bool:
        """Return True if the engine's answer makes a difference for any scope."""
        quiet = (Action.YOUNG, Action.WAITING, Action.UNDER_WAY, Action.FORGED)
        async for facts, _ in index.scopes():
            if facts.marks.due is not None or self._rules.judge(facts, needed=False, now=now) not in quiet:
                return True
        return False

    async def _ask(self, live: LiveScopes, index: Index) -> None:
        """Ask the engine for live scopes. This is done after the listing: a run that began in between is safe anyway."""
        async for count in noted(live, self._prefixes, index):
            self._progress("live scopes found", count)
        if isinstance(live, LiveRuns):
            await check_shown(
                index, self._store, self._prefixes, live.engine, set(self._tenants) - self._no_runs
            )

    async def _judged(self, index: Index, now: datetime) -> Report:
        report = Report(now, dry=True)
        async for facts, needed in index.scopes():
            self._count(report, facts, self._rules.judge(facts, needed=needed, now=now))
        return report

    def _count(self, report: Report, facts: ScopeFacts, action: Action) -> None:
        report.of(action).add(facts, self._rules.next_step(facts, action))
        report.forged += facts.marks.forged

    async def _do(self, index: Index, clock: StoreClock) -> Report:
        now = clock.begun
        report = Report(now, dry=False)
        reaper = Reaper(self._store, self._prefixes, self._rules, clock, self._limiter)
        places = asyncio.Semaphore(_SCOPES_AT_ONCE)
        done = failures = 0

        async def treat(facts: ScopeFacts, action: Action, *, needed: bool) -> None:
            nonlocal done, failures
            try:
                reaped = await _treated(reaper, facts, action, needed=needed)
                failures = 0
            except CoatcheckError as error:
                failures += 1
                if failures == _MOST_FAILURES:
                    raise
                _log.warning("A scope could not be swept: %s", error.about(facts.prefix))
                reaped = Reaped(Action.DENIED if isinstance(error, StoreDenied) else Action.FAILED)
            finally:
                places.release()
            self._count(report, facts, reaped.action)
            report.deleted += reaped.objects
            report.freed += reaped.size
            report.denied += reaped.denied
            report.versions_left |= reaped.versions_left
            done += 1
            self._progress("scopes done", done)

        try:
            async with asyncio.TaskGroup() as group:
                async for facts, needed in index.scopes():
                    action = self._rules.judge(facts, needed=needed, now=now)
                    if not action.acts:
                        self._count(report, facts, action)
                        continue
                    self._check_time(clock)
                    await places.acquire()
                    group.create_task(treat(facts, action, needed=needed))
        except BaseExceptionGroup as failures_of_all:
            raise failures_of_all.exceptions[0] from None
        return report

    def _check_time(self, clock: StoreClock) -> None:
        """Check that the listing is recent: scopes that were old in it must be much older than a mark that is written."""
        if clock.elapsed > self._rules.grace.total_seconds() / 2:
            raise LimitExceeded(
                "the sweep takes longer than half its grace",
                "Use a longer grace, or a higher rate of requests.",
            )


async def noted(live: LiveScopes, prefixes: ScopePrefixes, index: Index) -> AsyncIterator[int]:
    """Add live scopes to an index, and yield their number so far now and then.

    Args:
        live: Knows the live scopes.
        prefixes: Finds the prefixes of a scope.
        index: Receives them.
    """
    count = 0
    batch: list[str] = []
    async for prefix in live.prefixes(prefixes):
        batch.append(prefix)
        count += 1
        if len(batch) == _LIVE_AT_ONCE:
            index.add_live(batch)
            batch.clear()
            yield count
            await asyncio.sleep(0)
    index.add_live(batch)
    yield count


async def check_shown(
    index: Index, store: Store, prefixes: ScopePrefixes, engine: str, tenants: Collection[str]
) -> None:
    """Check that the engine shows a live scope of each tenant that has scopes in the store.

    Args:
        index: All live scopes of the engine.
        store: The store with the scopes.
        prefixes: The prefixes of the tenants.
        engine: The engine's name.
        tenants: The tenants to check.

    Raises:
        ConfigError: It shows none for one of them.
        StoreError: The store cannot or will not be listed.
    """
    client = StoreClient(store, REQUEST_SECONDS)
    for tenant in sorted(tenants):
        of_tenant = await prefixes.of_tenant(tenant)
        if index.shows(of_tenant):
            continue
        for prefix in of_tenant:
            begin = f"{prefix}{engine_code(engine):02x}"
            if await client.list_first(begin, 1):
                raise ConfigError(
                    f"the engine shows no runs at all for {tenant!r}, but the store has payloads of such runs; nothing was "
                    "done",
                    "Check the server, the namespace, and the permissions of the credentials. If its runs are rightly gone, "
                    f"use --no-runs {tenant}.",
                )


def _tell_nobody(what: str, done: int) -> None:
    """Ignore progress."""


async def _treated(reaper: Reaper, facts: ScopeFacts, action: Action, *, needed: bool) -> Reaped:
    if action is Action.MARK:
        return await reaper.mark(facts)
    if action is Action.SPARE and facts.marks.leased is None:
        return await reaper.spare(facts)
    return await reaper.reap(facts, needed=needed)


async def clean_up(store: Store, now: datetime) -> None:
    """Delete probe objects that sweeps left when they were killed more than a day ago.

    Args:
        store: The store.
        now: The time by the store's clock.

    Raises:
        StoreUnavailable: The store cannot do it.
    """
    client = StoreClient(store, REQUEST_SECONDS)
    with suppress(StoreDenied):
        for folder in (CLOCKS, PROBE_FOLDER):
            for entry in await client.list_first(folder, _LEFT_AT_ONCE):
                if now - entry.modified > _LEFT_FOR:
                    await client.delete(entry.key)
