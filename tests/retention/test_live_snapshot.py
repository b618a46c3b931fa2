"""What an engine said, by way of the store; and the parts of a sweep that need it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck import FormatError, LimitExceeded, MemoryStore, PayloadNotFound
from coatcheck.retention.index import Index
from coatcheck.retention.live_snapshot import RecordedScopes, forget, forget_older, parts, record
from coatcheck.retention.rules import Action
from coatcheck.retention.sweep import Sweep
from coatcheck.retention.tally import Report
from coatcheck.scope import engine_code
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.store_time import store_time
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
)

TAGS = st.text("0123456789abcdef", min_size=32, max_size=32)
PREFIXES = st.builds(
    "{}/{}{}/".format, TAGS, st.sampled_from(["00", "01", "02"]), TAGS.map(lambda tag: tag[:30])
)
ADDRESSES = ScopePrefixes(chain_on(MemoryStore()).sealings)


async def recorded(store: MemoryStore, prefixes: Iterable[str], digits: int) -> None:
    with Index() as index:
        index.add_live(prefixes)
        (place,) = await ADDRESSES.own_places(TENANT)
        await record(index, store, ENGINE, place, sweep="sweep", digits=digits)


@settings(deadline=None, max_examples=40)
@given(prefixes=st.lists(PREFIXES, max_size=20), digits=st.integers(0, 2))
async def test_each_part_is_told_what_is_live_in_it(prefixes: list[str], digits: int) -> None:
    store = MemoryStore()
    await recorded(store, prefixes + prefixes, digits)
    told: list[str] = []
    for part in parts(digits):
        mine = [prefix async for prefix in RecordedScopes(store, TENANT, "sweep", part).prefixes(ADDRESSES)]
        assert all(prefix[35:].startswith(part) for prefix in mine)
        told += mine
    own = {prefix for prefix in prefixes if prefix[33:35] == f"{engine_code(ENGINE):02x}"}
    assert sorted(told) == sorted(own)


async def test_what_was_not_recorded_is_no_empty_record() -> None:
    store = MemoryStore()
    await recorded(store, [], 1)
    assert [prefix async for prefix in RecordedScopes(store, TENANT, "sweep", "0").prefixes(ADDRESSES)] == []
    for sweep, part in (("other", "0"), ("sweep", "00")):
        with pytest.raises(PayloadNotFound) as caught:
            [prefix async for prefix in RecordedScopes(store, TENANT, sweep, part).prefixes(ADDRESSES)]
        # No attempt at the same step makes one: the sweep begins anew.
        assert not caught.value.retryable


async def test_a_damaged_record_is_an_error() -> None:
    store = MemoryStore()
    await store.create("sweep/live/sweep/part-0", bytes(33))
    with pytest.raises(FormatError):
        [prefix async for prefix in RecordedScopes(store, TENANT, "sweep", "0").prefixes(ADDRESSES)]


async def test_a_sweep_forgets_its_own_record_and_what_is_older_than_a_grace() -> None:
    store = AgedStore(MemoryStore())
    await store.create("sweep/live/ended/part-", b"")
    await store.age(LONG)
    await store.create("sweep/live/mine/first/part-", b"")
    await store.create("sweep/live/mine-too/part-", b"")
    await forget(store, "mine")
    assert await keys_of(store) == ["sweep/live/ended/part-", "sweep/live/mine-too/part-"]
    await forget_older(store, await store_time(store) - GRACE)
    assert await keys_of(store) == ["sweep/live/mine-too/part-"]


async def test_the_parts_of_a_sweep_do_together_what_the_whole_does() -> None:
    whole, parted = AgedStore(MemoryStore()), AgedStore(MemoryStore())
    for store in (whole, parted):
        for number in range(40):
            await chain_on(store).encode(Random(number).randbytes(600), scope_of(f"run-{number}"))
    live = Live(*(f"run-{number}" for number in range(0, 40, 2)))
    for verdict in (Action.MARK, Action.DELETE):
        for store in (whole, parted):
            await store.age(LONG)
        expected = await sweep_of(whole, live).run()
        begun = await store_time(parted)
        done = Report(begun, dry=False)
        for part in parts(1):
            done.add(await part_of(parted, live, part, begun=begun).run())
        assert done.of(verdict).scopes == 20
        for tally in (*expected.tallies.values(), *done.tallies.values()):
            tally.oldest = tally.newest = None  # one store was written a moment after the other
        assert done.tallies == expected.tallies
        assert (done.deleted, done.freed) == (expected.deleted, expected.freed)
    assert await keys_of(parted) == await keys_of(whole)


async def test_a_part_that_comes_too_long_after_the_engine_was_asked_does_nothing() -> None:
    store = AgedStore(MemoryStore())
    await chain_on(store).encode(Random(0).randbytes(600), scope_of("run"))
    await store.age(timedelta(days=30))
    keys = await keys_of(store)
    begun = await store_time(store) - GRACE / 2 - timedelta(minutes=1)
    with pytest.raises(LimitExceeded):
        await part_of(store, Live(), "", begun=begun).run()
    assert await keys_of(store) == keys


def part_of(store: AgedStore, live: Live, part: str, *, begun: datetime) -> Sweep:
    sweep = sweep_of(store, live)
    return Sweep(
        store,
        sweep._prefixes,
        live,
        engine=ENGINE,
        tenants=(TENANT,),
        rules=RULES,
        max_share=1,
        part=part,
        begun=begun,
        no_runs=(TENANT,),
    )
