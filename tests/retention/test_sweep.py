"""Sweeps from beginning to end, on a store in memory."""

import random
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from coatcheck import (
    Chain,
    Encrypt,
    Key,
    Keyring,
    MemoryStore,
    Offload,
    Scope,
    Store,
    StoredObject,
    StoreUnavailable,
)
from coatcheck.errors import CoatcheckError, ConfigError, KeyUnavailable, LimitExceeded, StoreDenied
from coatcheck.retention.live import LiveRuns
from coatcheck.retention.rules import Action, RetentionRules
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.sweep_marks import SWEEP_ALIVE
from tests.retention.aged_store import AgedStore
from tests.retention.sweeping import (
    ENGINE,
    GRACE,
    KEY,
    LONG,
    TENANT,
    Live,
    chain_on,
    claimed,
    keys_of,
    marked,
    scope_of,
    sweep_of,
    swept_twice,
)
from tests.retention.test_trimming import Cut, _CutError


def payloads(run: str, count: int = 3) -> list[bytes]:
    source = random.Random(run)
    turns = [source.randbytes(800) for _ in range(count)]
    return [b"".join(turns[: turn + 1]) for turn in range(count)]


async def written(store: Store, *runs: str, keyring: Keyring | None = None) -> dict[str, list[bytes]]:
    chain = chain_on(store, keyring)
    return {
        run: await all_at_once(chain.encode(payload, scope_of(run)) for payload in payloads(run))
        for run in runs
    }


async def is_there(store: Store, run: str, journal: list[bytes], keyring: Keyring | None = None) -> bool:
    try:
        chain = chain_on(store, keyring)
        return await all_at_once(chain.decode(payload, scope_of(run)) for payload in journal) == payloads(run)
    except CoatcheckError:
        return False


async def test_two_graces_later_what_no_run_knows_is_gone_and_all_else_is_there() -> None:
    store = AgedStore(MemoryStore())
    journals = await written(store, "live", "dead")
    await store.age(LONG)
    first = await sweep_of(store, Live("live")).run()
    assert (first.of(Action.MARK).scopes, first.of(Action.LIVE).scopes, first.deleted) == (1, 1, 0)
    waiting = await sweep_of(store, Live("live")).run()
    assert (waiting.of(Action.WAITING).scopes, waiting.deleted) == (1, 0)
    await store.age(LONG)
    last = await sweep_of(store, Live("live")).run()
    assert (last.of(Action.DELETE).scopes, last.deleted, last.freed) == (1, 3, last.of(Action.DELETE).size)
    assert await is_there(store, "live", journals["live"])
    assert not await is_there(store, "dead", journals["dead"])
    assert all(len(key.rpartition("/")[2]) == 64 for key in await keys_of(store))


async def test_a_look_changes_nothing() -> None:
    store = AgedStore(MemoryStore())
    await written(store, "dead")
    await store.age(LONG)
    before = await keys_of(store)
    report = await sweep_of(store, Live()).look()
    assert (report.dry, report.of(Action.MARK).scopes, report.share) == (True, 1, 1.0)
    assert await keys_of(store) == before


async def test_what_is_young_is_not_even_asked_about() -> None:
    class Unasked(LiveRuns):
        engine = ENGINE
        tenants = (TENANT,)

        async def scopes(self) -> AsyncIterator[Scope]:
            raise AssertionError("asked")
            yield Scope(TENANT)

    store = AgedStore(MemoryStore())
    await written(store, "young")
    assert (await sweep_of(store, Unasked()).run()).of(Action.YOUNG).scopes == 1


async def test_a_run_that_comes_back_between_the_looks_is_spared() -> None:
    store = AgedStore(MemoryStore())
    journals = await written(store, "back")
    await store.age(LONG)
    await sweep_of(store, Live()).run()
    await store.age(LONG)
    assert (await sweep_of(store, Live("back")).run()).of(Action.SPARE).scopes == 1
    # The tombstone stands, and means nothing any more: what was written to show that counts as life.
    await store.age(LONG - timedelta(days=2))
    assert (await sweep_of(store, Live()).run()).of(Action.YOUNG).scopes == 1
    assert await is_there(store, "back", journals["back"])


async def test_a_share_above_the_allowed_one_stops_everything() -> None:
    store = AgedStore(MemoryStore())
    await written(store, "live", "dead")
    await store.age(LONG)
    before = await keys_of(store)
    with pytest.raises(LimitExceeded, match="50% of 6 objects"):
        await sweep_of(store, Live("live"), max_share=0.49).run()
    assert await keys_of(store) == before
    assert (await sweep_of(store, Live("live"), max_share=0.5).run()).of(Action.MARK).scopes == 1


async def test_an_engine_that_fails_stops_everything() -> None:
    class Failing(LiveRuns):
        engine = ENGINE
        tenants = (TENANT,)

        async def scopes(self) -> AsyncIterator[Scope]:
            yield scope_of("live")
            raise StoreUnavailable("the engine is gone")

    store = AgedStore(MemoryStore())
    await written(store, "live", "dead")
    await store.age(LONG)
    before = await keys_of(store)
    with pytest.raises(StoreUnavailable):
        await sweep_of(store, Failing()).run()
    assert await keys_of(store) == before


async def test_a_rotation_hides_no_live_run_and_no_dead_one() -> None:
    old, new = KEY, Key(bytes(reversed(range(32))))
    store = AgedStore(MemoryStore())
    before = await written(store, "live", "dead", keyring=Keyring(old))
    after = await written(store, "live", "dead", keyring=Keyring(new, old))
    report = await swept_twice(sweep_of(store, Live("live"), keyring=Keyring(new, old)), store)
    assert report.of(Action.DELETE).scopes == 2
    for journal in (before["live"], after["live"]):
        assert await is_there(store, "live", journal, Keyring(new, old))
    for journal in (before["dead"], after["dead"]):
        assert not await is_there(store, "dead", journal, Keyring(new, old))


async def test_a_tenant_that_was_not_named_is_not_touched() -> None:
    store = AgedStore(MemoryStore())
    journals = await written(store, "dead")
    for _ in range(3):
        await store.age(LONG)
        assert (await sweep_of(store, Live(), tenants=("another",)).run()).objects == 0
    assert await is_there(store, "dead", journals["dead"])


async def test_payloads_of_the_tenant_scope_are_never_swept() -> None:
    store = AgedStore(MemoryStore())
    journal = await chain_on(store).encode(payloads("x")[-1], Scope(TENANT))
    for _ in range(3):
        await store.age(LONG)
        await sweep_of(store, Live()).run()
    assert await chain_on(store).decode(journal, Scope(TENANT)) == payloads("x")[-1]


async def test_a_sweep_that_is_cut_off_at_any_request_is_finished_by_the_next() -> None:
    for after in range(200):
        store = AgedStore(MemoryStore())
        journals = await written(store, "live", "dead")
        await store.age(LONG)
        await sweep_of(store, Live("live")).run()
        await store.age(LONG)
        try:
            await sweep_of(Cut(store, after), Live("live")).run()
        except _CutError:
            pass
        else:
            assert after > 10
            return
        assert await is_there(store, "live", journals["live"])
        await store.age(timedelta(hours=2))
        await sweep_of(store, Live("live")).run()
        await store.age(LONG)
        await sweep_of(store, Live("live")).run()
        assert await is_there(store, "live", journals["live"])
        left = [key for key in await keys_of(store) if "sweep/" not in key and "probe/" not in key]
        assert len(left) == 3
    raise AssertionError("it never came to an end")


async def test_a_sweep_that_was_interrupted_an_instant_ago_is_left_to_its_owner() -> None:
    store = AgedStore(MemoryStore())
    await written(store, "dead")
    await store.age(LONG)
    await sweep_of(store, Live()).run()
    await store.age(LONG)
    (scope,) = await ScopePrefixes(chain_on(store).sealings).of(scope_of("dead"))
    await claimed(store, scope)
    assert (await sweep_of(store, Live()).run()).of(Action.UNDER_WAY).scopes == 1
    await store.age(timedelta(hours=1, minutes=1))
    assert (await sweep_of(store, Live()).run()).of(Action.DELETE).scopes == 1


async def test_a_writer_that_finds_its_payload_in_a_marked_scope_takes_the_scope_back() -> None:
    store = AgedStore(MemoryStore())
    await written(store, "dead")
    await store.age(LONG)
    await sweep_of(store, Live()).run()
    journals = await written(store, "dead")
    assert any(key.endswith(f"/{SWEEP_ALIVE}") for key in await keys_of(store))
    await store.age(GRACE - timedelta(minutes=1))
    assert (await sweep_of(store, Live()).run()).deleted == 0
    assert await is_there(store, "dead", journals["dead"])


async def test_a_writer_is_refused_while_the_scope_is_deleted_and_never_told_of_what_goes() -> None:
    store = AgedStore(MemoryStore())
    await written(store, "dead")
    (scope,) = await ScopePrefixes(chain_on(store).sealings).of(scope_of("dead"))
    await marked(store, scope)
    await claimed(store, scope)
    with pytest.raises(StoreUnavailable, match="being swept"):
        await written(store, "dead")


async def test_without_a_key_of_the_tenant_nothing_is_decided() -> None:
    class Lost(Encrypt):
        async def load_all(self, tenant: str) -> None:
            raise KeyUnavailable("gone")

    store = AgedStore(MemoryStore())
    await written(store, "dead")
    await store.age(LONG)
    chain = Chain(Lost(Keyring(KEY)), Offload(store))
    sweep = sweep_of(store, Live())
    sweep._prefixes._sealings = chain.sealings
    before = await keys_of(store)
    with pytest.raises(KeyUnavailable):
        await sweep.run()
    assert await keys_of(store) == before


async def test_a_store_that_may_not_be_listed_is_not_swept() -> None:
    class Unlisted(MemoryStore):
        async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
            if not prefix.startswith("sweep/"):
                raise StoreDenied("no right to list")
            async for entry in super().list_objects(prefix):
                yield entry

    with pytest.raises(StoreDenied):
        await sweep_of(Unlisted(), Live()).run()


def test_a_grace_that_is_too_short_is_refused() -> None:
    with pytest.raises(ConfigError):
        RetentionRules(grace=timedelta(hours=23), idle=LONG)
