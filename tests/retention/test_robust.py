"""One bad scope is a verdict of that scope; large runs, many scopes and slow listings are none at all."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from coatcheck import Checkpoints, MemoryStore, Scope, Store, StoredObject, StoreUnavailable
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.errors import ConfigError, StoreDenied, StoreError
from coatcheck.retention import rate_limit as pace
from coatcheck.retention.index import Index
from coatcheck.retention.live_snapshot import RecordedScopes, record
from coatcheck.retention.rules import Action, RetentionRules
from coatcheck.retention.sweep import Sweep, noted
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.client import StoreClient
from coatcheck.storage.limiter import Limiter
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.records import Position, Records
from coatcheck.storage.sweep_marks import SWEEP_MARK
from tests.chains import history
from tests.retention.aged_store import AgedStore
from tests.retention.sweeping import (
    ENGINE,
    GRACE,
    LONG,
    RULES,
    TENANT,
    Live,
    chain_on,
    keys_of,
    scope_of,
    sweep_of,
    swept_twice,
)

SCOPES: Final = int(os.environ.get("COATCHECK_SWEEP_SCOPES", "10000"))
LONGEST_TURN: Final = 1.0
"""Seconds of the processor, however many scopes there are. A worker that says nothing for 20 is taken for dead."""


async def put(store: Store, *runs: str, count: int = 3) -> None:
    for run in runs:
        source = random.Random(run)
        turns = [source.randbytes(800) for _ in range(count)]
        payloads = [b"".join(turns[: turn + 1]) for turn in range(count)]
        chain = chain_on(store)
        await all_at_once(chain.encode(payload, scope_of(run)) for payload in payloads)


async def prefix_of(run: str) -> str:
    (prefix,) = await ScopePrefixes(chain_on(MemoryStore()).sealings).of(scope_of(run))
    return prefix


async def objects(store: Store, run: str) -> list[str]:
    return [key for key in await keys_of(store, [await prefix_of(run)]) if len(key.rpartition("/")[2]) == 64]


class Refusing(AgedStore):
    """Refuses what it is told to."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.deletes: Callable[[str], bool] = lambda _: False
        self.gets: Callable[[str], bool] = lambda _: False
        self.replaces: Callable[[str], bool] = lambda _: False
        self.error: StoreError = StoreDenied("locked")

    async def delete(self, key: str) -> None:
        if self.deletes(key):
            raise self.error
        await super().delete(key)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        if self.gets(key):
            raise self.error
        return await super().get(key, limit)

    async def replace(self, key: str, data: bytes) -> None:
        if self.replaces(key):
            raise self.error
        await super().replace(key, data)


async def test_a_lock_on_everything_ended_every_sweep_even_a_dry_one() -> None:
    store = Refusing()
    await put(store, "live", "dead")
    store.deletes = lambda _: True
    await store.age(LONG)
    assert (await sweep_of(store, Live("live")).look()).of(Action.MARK).scopes == 1
    await sweep_of(store, Live("live")).run()
    await store.age(LONG)
    report = await sweep_of(store, Live("live")).run()
    assert (report.of(Action.DENIED).scopes, report.of(Action.LIVE).scopes, report.deleted) == (1, 1, 0)
    assert len(await objects(store, "dead")) == 3


async def test_a_scope_whose_newest_object_is_locked_is_left_whole_and_goes_when_it_is_not() -> None:
    store = Refusing()
    await put(store, "locked", "dead")
    locked = await objects(store, "locked")
    listed = {entry.key: entry.modified async for entry in store.list_objects()}
    newest = max(locked, key=listed.__getitem__)
    store.deletes = lambda key: key == newest
    report = await swept_twice(sweep_of(store, Live()), store)
    assert (report.of(Action.DENIED).scopes, report.of(Action.DELETE).scopes) == (1, 1)
    assert (report.deleted, report.denied) == (3, 1)
    assert await objects(store, "locked") == locked
    # Whoever comes back meanwhile is not kept waiting.
    await put(store, "locked")
    store.deletes = lambda _: False
    assert (await swept_twice(sweep_of(store, Live()), store)).deleted == 3
    assert await keys_of(store) == []


async def test_a_sweep_goes_on_past_a_denied_deletion_and_tries_it_again() -> None:
    store = Refusing()
    await put(store, "locked", "dead")
    locked = await objects(store, "locked")
    listed = {entry.key: entry.modified async for entry in store.list_objects()}
    oldest = min(locked, key=listed.__getitem__)
    store.deletes = lambda key: key == oldest
    report = await swept_twice(sweep_of(store, Live()), store)
    assert (report.of(Action.DENIED).scopes, report.of(Action.DELETE).scopes) == (1, 1)
    assert (report.deleted, report.denied) == (5, 1)
    with pytest.raises(StoreUnavailable, match="being swept"):
        await put(store, "locked")
    store.deletes = lambda _: False
    await store.age(timedelta(hours=2))
    assert (await sweep_of(store, Live()).run()).deleted == 1
    assert oldest not in await keys_of(store)


async def test_a_scope_that_the_store_fails_for_ended_the_sweep() -> None:
    store = Refusing()
    await put(store, "bad", "dead")
    bad = await prefix_of("bad") + SWEEP_MARK
    store.replaces = lambda key: key == bad
    await store.age(LONG)
    report = await sweep_of(store, Live()).run()
    assert (report.of(Action.DENIED).scopes, report.of(Action.MARK).scopes) == (1, 1)


async def test_a_mark_that_the_store_does_not_return_ended_the_sweep() -> None:
    store = Refusing()
    await put(store, "bad", "dead")
    await store.age(LONG)
    assert (await sweep_of(store, Live()).run()).of(Action.MARK).scopes == 2
    await store.age(LONG)
    bad = await prefix_of("bad") + SWEEP_MARK
    store.gets = lambda key: key == bad
    report = await sweep_of(store, Live()).run()
    assert (report.of(Action.FAILED).scopes, report.of(Action.DELETE).scopes, report.deleted) == (1, 1, 3)
    assert len(await objects(store, "bad")) == 3


async def test_a_store_that_is_gone_ends_the_sweep() -> None:
    store = Refusing()
    await put(store, *(f"run-{number}" for number in range(60)), count=1)
    store.replaces = lambda key: key.endswith(SWEEP_MARK)
    await store.age(LONG)
    with pytest.raises(StoreDenied):
        await sweep_of(store, Live()).run()


async def test_a_store_that_ignores_create_conditions_is_not_swept() -> None:
    class Careless(AgedStore):
        async def create(self, key: str, data: bytes) -> bool:
            await self.inner.replace(key, data)
            return True

    store = Careless(MemoryStore())
    await put(store, "dead")
    await store.age(LONG)
    before = await keys_of(store)
    with pytest.raises(ConfigError, match="creates an object that already exists"):
        await sweep_of(store, Live()).run()
    assert [key for key in await keys_of(store) if not key.startswith("sweep/")] == before


async def test_what_killed_sweeps_left_is_cleaned_up_and_what_others_need_is_not() -> None:
    store = AgedStore(MemoryStore())
    for name in ("sweep/clock-old", "coatcheck-probe/old"):
        await store.create(name, b"")
    await store.age(timedelta(days=2))
    await store.create("sweep/clock-of-another-sweep", b"")
    await sweep_of(store, Live("live")).run()
    assert await keys_of(store) == ["sweep/clock-of-another-sweep"]


async def test_a_run_of_a_hundred_thousand_checkpoints_was_never_trimmed() -> None:
    count, keep = 100_100, 2
    store = AgedStore(MemoryStore())
    saved = Checkpoints(chain_on(store), run="large", tenant=TENANT)
    for step in range(count - keep, count):
        await saved.save(random.Random(step).randbytes(900), step)
    chain = chain_on(store)
    prefixes = ScopePrefixes(chain.sealings)
    (prefix,) = await prefixes.of(Scope(TENANT, "large", engine="checkpoints"))
    records = Records(StoreClient(store), await prefixes.sealer_at(prefix))
    for step in range(count - keep):
        await store.inner.replace(records.key(Position(0, step)), b"an old one")
    small = Checkpoints(chain_on(store), run="small", tenant=TENANT)
    for step in range(5):
        await small.save(random.Random(step).randbytes(900), step)
    report = await swept_twice(
        sweep_of(store, None, rules=RetentionRules(grace=GRACE, idle=None, keep_last=keep)), store
    )
    assert report.of(Action.TRIM).scopes == 2
    assert [one.step for one in await history(small)] == [3, 4]
    fresh = Checkpoints(chain_on(store), run="large", tenant=TENANT)
    assert [one.step for one in await history(fresh)] == [count - 2, count - 1]
    assert await fresh.restore() == random.Random(count - 1).randbytes(900)


async def test_a_record_that_was_damaged_on_its_way_is_fetched_once_more() -> None:
    class Flaky(AgedStore):
        damaged = 0

        async def get(self, key: str, limit: int = 2**20) -> bytes:
            data = await super().get(key, limit)
            if "/step-" in key and not self.damaged:
                self.damaged += 1
                return data[:-1] + bytes((data[-1] ^ 1,))
            return data

    store = Flaky(MemoryStore())
    saved = Checkpoints(chain_on(store), run="run", tenant=TENANT)
    for step in range(5):
        await saved.save(random.Random(step).randbytes(900), step)
    report = await swept_twice(
        sweep_of(store, None, rules=RetentionRules(grace=GRACE, idle=None, keep_last=2)), store
    )
    assert (report.of(Action.TRIM).scopes, store.damaged) == (1, 1)


class Slow(MemoryStore):
    """Takes its time for each object of a listing."""

    def __init__(self, pause: float) -> None:
        super().__init__()
        self.pause = pause

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        async for entry in super().list_objects(prefix):
            await asyncio.sleep(self.pause)
            yield entry


async def test_a_deadline_is_for_a_page_and_not_for_a_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_PAGE", 10)
    monkeypatch.setattr(pace, "PAGE_SECONDS", 0.5)
    for pause, ends in ((0.01, True), (0.2, False)):
        store = Slow(pause)
        for number in range(80):
            await store.create(f"object-{number:03}", b"")
        listing = pace.listed(store, "", Limiter(operations=1, size=1))
        if ends:
            assert len([entry async for entry in listing]) == 80
        else:
            with pytest.raises(StoreUnavailable, match="no page of a listing"):
                [entry async for entry in listing]


class Many(Store):
    """Has so many scopes of one object each, of a year ago."""

    def __init__(self, count: int, tenant: str) -> None:
        self._count = count
        self._tenant = tenant
        self._small = MemoryStore()

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        if not prefix.startswith(self._tenant):
            async for entry in self._small.list_objects(prefix):
                yield entry
            return
        written = datetime.now(UTC) - timedelta(days=365)
        for number in range(self._count):
            yield StoredObject(f"{self._tenant}01{number:030x}/{'0' * 64}", 100, written)

    async def create(self, key: str, data: bytes) -> bool:
        return await self._small.create(key, data)

    async def replace(self, key: str, data: bytes) -> None:
        await self._small.replace(key, data)

    async def get(self, key: str, limit: int = 2**30) -> bytes:
        return await self._small.get(key, limit)

    async def delete(self, key: str) -> None:
        await self._small.delete(key)


class Beat:
    """Notes for how long the event loop did not come round, but for what other processes took from it."""

    longest = 0.0

    async def go_on(self) -> None:
        while True:
            begun = time.thread_time()
            await asyncio.sleep(0)
            self.longest = max(self.longest, time.thread_time() - begun)
            await asyncio.sleep(0.005)


async def test_judging_millions_of_scopes_kept_the_worker_from_its_heartbeat() -> None:
    prefixes = ScopePrefixes(chain_on(MemoryStore()).sealings)
    (tenant,) = await prefixes.of_tenant(TENANT)
    store = Many(SCOPES, tenant)
    (place,) = await prefixes.own_places(TENANT)
    beat = Beat()
    beating = asyncio.ensure_future(beat.go_on())
    try:
        with Index() as index:
            for start in range(0, SCOPES, 1000):
                index.add_live(
                    f"{tenant}01{number:030x}/" for number in range(start, min(start + 1000, SCOPES))
                )
                await asyncio.sleep(0)
            await record(index, store, ENGINE, place, sweep="sweep", digits=0)
        live = RecordedScopes(store, TENANT, "sweep", "")
        sweep = Sweep(
            store,
            prefixes,
            live,
            engine=ENGINE,
            tenants=(TENANT,),
            rules=RULES,
            max_share=1,
            no_runs=(TENANT,),
        )
        for work in (sweep.look, sweep.run):
            assert (await work()).of(Action.LIVE).scopes == SCOPES
        with Index() as index:
            assert [count async for count in noted(live, prefixes, index)][-1] == SCOPES
    finally:
        beating.cancel()
    print(f"{SCOPES:,} scopes: the loop was held up for {beat.longest:.3f} s at most")  # noqa: T201 - the figure is wanted
    assert beat.longest < LONGEST_TURN
