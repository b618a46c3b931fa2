"""Keeping the latest checkpoints of a run: what they need stays, and nothing else."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck import (
    Checkpoints,
    Key,
    Keyring,
    MemoryStore,
    PayloadNotFound,
    Store,
    StoredObject,
    StoreUnavailable,
)
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.errors import ConfigError
from coatcheck.retention.rules import Action, RetentionRules
from coatcheck.retention.tally import Report
from coatcheck.storage.sweep_marks import SWEEP_DELETING, SWEEP_LEASE
from tests.chains import history
from tests.retention.aged_store import AgedStore
from tests.retention.sweeping import GRACE, KEY, LONG, TENANT, chain_on, keys_of, sweep_of

KEEP = 3
RULES = RetentionRules(grace=GRACE, idle=None, keep_last=KEEP)


def states(count: int, run: str = "run") -> list[bytes]:
    source = random.Random(run)
    turns = [source.randbytes(900) for _ in range(count)]
    return [b"\x80" + b"".join(turns[: step + 1]) for step in range(count)]


async def saved(store: Store, count: int, run: str = "run") -> None:
    checkpoints = Checkpoints(chain_on(store), run=run, tenant=TENANT)
    for step, state in enumerate(states(count, run)):
        await checkpoints.save(state, step)


async def sweep(store: Store, rules: RetentionRules = RULES) -> Report:
    return await sweep_of(store, None, rules=rules).run()


async def swept_twice(store: AgedStore, rules: RetentionRules = RULES) -> Report:
    await store.age(LONG)
    await sweep(store, rules)
    await store.age(LONG)
    return await sweep(store, rules)


def read(store: Store, run: str = "run") -> Checkpoints:
    return Checkpoints(chain_on(store), run=run, tenant=TENANT)


@given(count=st.integers(1, 12), keep=st.integers(1, 12))
@settings(max_examples=25, deadline=None)
async def test_the_latest_restore_and_the_others_are_gone(count: int, keep: int) -> None:
    store = AgedStore(MemoryStore())
    await saved(store, count)
    report = await swept_twice(store, RetentionRules(grace=GRACE, idle=None, keep_last=keep))
    left = await history(read(store))
    assert [checkpoint.step for checkpoint in left] == list(range(max(0, count - keep), count))
    for checkpoint in left:
        assert await read(store).restore(checkpoint.reference) == states(count)[checkpoint.step]
    needed = {object_id for one in left for object_id in (one.reference.object_id, *one.reference.bases)}
    assert len(await keys_of(store)) == len(left) + len(needed)
    assert report.of(Action.TRIM).scopes == (count > keep)


async def test_a_state_that_is_no_longer_kept_is_not_found() -> None:
    store = AgedStore(MemoryStore())
    await saved(store, 8)
    # The first and the fifth of a delta chain are bases of the last three; the fourth is one of none of them.
    gone = (await read(store).at(3)).reference
    await swept_twice(store)
    with pytest.raises(PayloadNotFound):
        await read(store).restore(gone)


async def test_a_run_that_goes_on_is_left_alone() -> None:
    store = AgedStore(MemoryStore())
    await saved(store, 8)
    await store.age(LONG)
    await sweep(store)
    await read(store).save(b"\x80new", 8)
    await store.age(LONG)
    assert (await sweep(store)).deleted == 0
    assert len(await history(read(store))) == 9


async def test_a_trimmed_run_is_not_marked_again_and_goes_on() -> None:
    store = AgedStore(MemoryStore())
    await saved(store, 8)
    await swept_twice(store)
    before = await keys_of(store)
    report = await swept_twice(store)
    assert (report.of(Action.YOUNG).scopes, await keys_of(store)) == (1, before)
    await read(store).save(states(9)[-1], 8)
    assert [one.step for one in await history(read(store))] == [5, 6, 7, 8]


async def test_old_runs_go_whole_and_younger_ones_are_trimmed() -> None:
    rules = RetentionRules(grace=GRACE, idle=timedelta(days=20), keep_last=KEEP)
    store = AgedStore(MemoryStore())
    await saved(store, 6, "old")
    await store.age(LONG)
    await saved(store, 6, "younger")
    report = await swept_twice(store, rules)
    assert (report.of(Action.DELETE).scopes, report.of(Action.TRIM).scopes) == (1, 1)
    assert await history(read(store, "old")) == []
    assert len(await history(read(store, "younger"))) == KEEP


async def test_a_run_that_may_be_kept_longer_than_it_was_marked_for_is_kept() -> None:
    store = AgedStore(MemoryStore())
    await saved(store, 6)
    await store.age(LONG)
    await sweep(store, RetentionRules(grace=GRACE, idle=GRACE))
    await store.age(LONG)
    longer = RetentionRules(grace=GRACE, idle=timedelta(days=365))
    assert (await sweep(store, longer)).of(Action.YOUNG).scopes == 1
    assert len(await history(read(store))) == 6


async def test_a_rotation_made_old_checkpoints_of_a_run_that_went_on_look_idle() -> None:
    """Under each key a run has a scope of its own; it was judged as if it were another run."""
    store, rules = AgedStore(MemoryStore()), RetentionRules(grace=GRACE, idle=timedelta(days=10))
    new = Keyring(Key(bytes(range(32, 64))), KEY)

    def run(name: str, keyring: Keyring | None = None) -> Checkpoints:
        return Checkpoints(chain_on(store, keyring), run=name, tenant=TENANT)

    await run("goes on").save(b"\x80before" * 200, 0)
    await run("stopped").save(b"\x80for good" * 200, 0)
    for day in range(4):
        await store.age(LONG)
        await run("goes on", new).save(b"\x80after" * (200 + day), day + 1)
        await sweep_of(store, None, rules=rules, keyring=new).run()
    left = await history(run("goes on", new))
    assert [checkpoint.step for checkpoint in left] == [0, 1, 2, 3, 4]
    assert await run("goes on", new).restore(left[0].reference) == b"\x80before" * 200
    assert await history(run("stopped", new)) == []


async def test_a_damaged_record_keeps_everything() -> None:
    store = AgedStore(MemoryStore())
    await saved(store, 6)
    key = min(key for key in await keys_of(store) if "/step-" in key)
    await store.replace(key, b"damaged")
    before = await keys_of(store)
    report = await swept_twice(store)
    assert (report.of(Action.UNREADABLE).scopes, report.deleted) == (1, 0)
    assert await keys_of(store) == before


class _CutError(Exception):
    """The process is gone."""


class Cut(Store):
    """Ends the process that uses it at one of its requests."""

    def __init__(self, inner: Store, after: int) -> None:
        self._inner = inner
        self.left = after

    def _count(self) -> None:
        if self.left == 0:
            raise _CutError
        self.left -= 1

    async def create(self, key: str, data: bytes) -> bool:
        self._count()
        return await self._inner.create(key, data)

    async def replace(self, key: str, data: bytes) -> None:
        self._count()
        await self._inner.replace(key, data)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        self._count()
        return await self._inner.get(key, limit)

    async def delete(self, key: str) -> None:
        self._count()
        await self._inner.delete(key)

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        self._count()
        async for entry in self._inner.list_objects(prefix):
            yield entry


@pytest.mark.parametrize("engine", [False, True], ids=["the same sweep", "an engine's sweep"])
async def test_a_sweep_that_is_cut_off_at_any_request_is_finished_by_the_next(engine: bool) -> None:
    """Whichever kind that is: the mark in the store says how much is kept, not the sweep that goes on."""
    for after in range(200):
        store = AgedStore(MemoryStore())
        await saved(store, 6)
        await store.age(LONG)
        await sweep(store)
        await store.age(LONG)
        cut = Cut(store, after)
        try:
            await sweep(cut)
        except _CutError:
            pass
        else:
            assert after > 10
            return
        left = await history(read(store))
        assert [one.step for one in left][-KEEP:] == [3, 4, 5]
        begun = any(SWEEP_DELETING in key for key in await keys_of(store))
        await store.age(timedelta(hours=2))
        rules = RetentionRules(grace=GRACE, idle=GRACE) if engine and begun else RULES
        await sweep(store, rules)
        left = await history(read(store))
        assert [one.step for one in left] == [3, 4, 5]
        for one in left:
            assert await read(store).restore(one.reference) == states(6)[one.step]
        await store.age(LONG)
        await sweep(store)
        assert not [key for key in await keys_of(store) if SWEEP_LEASE in key or SWEEP_DELETING in key]
    raise AssertionError("it never came to an end")


async def test_writers_against_a_sweep_that_trims() -> None:
    """Each goes back to an old state, which may be on its way out: it is saved whole, or refused and saved later."""
    for delay in range(40):
        store = AgedStore(MemoryStore())
        await saved(store, 6)
        await store.age(LONG)
        await sweep(store)
        await store.age(LONG)
        swept = asyncio.ensure_future(sweep(store))
        for _ in range(delay * 3):
            await asyncio.sleep(0)
        writer = read(store)
        for _ in range(1000):
            try:
                again = await writer.save(states(6)[1], 1)
                after = await writer.save(states(6)[1] + b"and on", 6)
                break
            except StoreUnavailable:
                await asyncio.sleep(0)
        else:
            raise AssertionError("it was never taken")
        await swept
        fresh = read(store)
        assert await fresh.restore(again) == states(6)[1]
        assert await fresh.restore(after) == states(6)[1] + b"and on"
        assert {1, 6} <= {one.step for one in await history(fresh)}


def test_rules_that_keep_everything_or_nonsense_are_refused() -> None:
    for idle, keep_last in ((None, 0), (None, -1), (None, 1_000_000), (timedelta(hours=1), 0)):
        with pytest.raises(ConfigError):
            RetentionRules(grace=GRACE, idle=idle, keep_last=keep_last)
