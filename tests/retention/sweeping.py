"""Sweeps, and who is asked what is live, for tests."""

import secrets
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta

from coatcheck import Chain, Encrypt, Key, Keyring, MemoryStore, Offload, PayloadCache, Scope, Store, Zstd
from coatcheck.format.suites import ScopeSealer
from coatcheck.retention.live import LiveRuns
from coatcheck.retention.rules import RetentionRules
from coatcheck.retention.sweep import Sweep
from coatcheck.retention.tally import Report
from coatcheck.storage.client import StoreClient
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.store_time import store_time
from coatcheck.storage.sweep_marks import SWEEP_MARK, SweepMark, lease, read_mark, seal_mark
from tests.retention.aged_store import AgedStore

TENANT = "tenant"
ENGINE = "temporal"
GRACE = timedelta(days=7)
LONG = timedelta(days=8)
RULES = RetentionRules(grace=GRACE, idle=GRACE)
KEY = Key(bytes(range(32)))
ORIGIN = "/sweep-origin-"
PATIENCE = 60.0
"""Seconds: a server that has just begun to make room for a bucket keeps many writers waiting."""


def scope_of(run: str, series: str | None = None) -> Scope:
    """As the engine has it."""
    return Scope(TENANT, run, series, ENGINE)


class Live(LiveRuns):
    """Knows what it is told."""

    engine = ENGINE
    tenants = (TENANT,)

    def __init__(self, *runs: str) -> None:
        self.runs = list(runs)

    async def scopes(self) -> AsyncIterator[Scope]:
        for run in self.runs:
            yield scope_of(run)


def chain_on(store: Store, keyring: Keyring | None = None) -> Chain:
    """A chain that has nothing in memory."""
    return Chain(
        Zstd(),
        Encrypt(keyring or Keyring(KEY)),
        Offload(store, over=256, deadline=PATIENCE),
        cache=PayloadCache(2**22),
    )


def sweep_of(
    store: Store,
    live: LiveRuns | None,
    *,
    rules: RetentionRules = RULES,
    tenants: tuple[str, ...] = (TENANT,),
    keyring: Keyring | None = None,
    max_share: float = 1,
    engine: str | None = None,
    no_runs: Iterable[str] | None = None,
    moved: bool = False,
) -> Sweep:
    """A sweep that minds no share, and no engine that shows nothing, unless it is told to."""
    prefixes = ScopePrefixes(chain_on(store, keyring).sealings)
    return Sweep(
        store,
        prefixes,
        live,
        engine=engine or (live.engine if live else "checkpoints"),
        tenants=tenants,
        rules=rules,
        max_share=max_share,
        no_runs=tenants if no_runs is None else tuple(no_runs),
        moved=moved,
    )


async def sealer_of(prefix: str) -> ScopeSealer:
    """What a sweep seals its marks in a scope with."""
    prefixes = ScopePrefixes(chain_on(MemoryStore()).sealings)
    await prefixes.of_tenant(TENANT)
    return await prefixes.sealer_at(prefix)


async def marked(store: Store, prefix: str, made: datetime | None = None) -> SweepMark:
    """Mark a scope as a sweep does, and give the mark."""
    made = made or await store_time(store)
    mark = SweepMark(secrets.token_bytes(16), made, made - GRACE)
    await store.replace(prefix + SWEEP_MARK, seal_mark(await sealer_of(prefix), SWEEP_MARK, mark))
    return mark


async def claimed(store: Store, prefix: str) -> None:
    """Claim a marked scope as a sweep does that has just begun with it."""
    scope = await sealer_of(prefix)
    mark = await read_mark(StoreClient(store), scope, SWEEP_MARK, None)
    assert mark is not None
    name = lease(mark.id, 0)
    now = await store_time(store)
    assert await store.create(prefix + name, seal_mark(scope, name, SweepMark(mark.id, now, now)))


async def swept_twice(sweep: Sweep, store: AgedStore) -> Report:
    """Once to mark and once to delete, each when everything is older than the grace; what the second one did."""
    await store.age(LONG)
    await sweep.run()
    await store.age(LONG)
    return await sweep.run()


async def keys_of(store: Store, prefixes: Iterable[str] = ("",)) -> list[str]:
    """Every key below ``prefixes``, without what the store remembers of whom it was swept for."""
    return [
        entry.key
        for prefix in prefixes
        async for entry in store.list_objects(prefix)
        if ORIGIN not in entry.key
    ]
