"""A sweep that asks the wrong engine, cluster or namespace does nothing, and what is rightly gone can be swept."""

import random
from collections.abc import Mapping
from datetime import timedelta

import pytest

from coatcheck import Checkpoints, Key, Keyring, MemoryStore, Scope, Store
from coatcheck.errors import CoatcheckError, ConfigError, LimitExceeded
from coatcheck.retention.live import Origin
from coatcheck.retention.rules import Action, RetentionRules
from coatcheck.retention.sweep import DEFAULT_MAX_SHARE
from coatcheck.storage.prefixes import ScopePrefixes
from tests.chains import history
from tests.retention.aged_store import AgedStore
from tests.retention.sweeping import (
    GRACE,
    KEY,
    LONG,
    ORIGIN,
    TENANT,
    Live,
    chain_on,
    keys_of,
    scope_of,
    sweep_of,
    swept_twice,
)

HERE = Origin("cluster-1", "namespace-1")


class Placed(Live):
    """An engine that says where it is."""

    def __init__(self, *runs: str, origin: Origin = HERE, engine: str = "temporal") -> None:
        super().__init__(*runs)
        self.engine = engine
        self.origin = origin

    async def origins(self) -> Mapping[str, Origin]:
        return {TENANT: self.origin}


async def put(store: Store, *runs: str, engine: str = "temporal") -> None:
    chain = chain_on(store)
    for run in runs:
        await chain.encode(random.Random(run).randbytes(900), Scope(TENANT, run, engine=engine))


async def remembered(store: Store) -> list[str]:
    return [entry.key async for entry in store.list_objects() if ORIGIN in entry.key]


@pytest.mark.parametrize("no_runs", [(), (TENANT,)], ids=["strange", "said to be right"])
async def test_sixty_daily_sweeps_of_an_engine_that_always_answers_no_runs(no_runs: tuple[str, ...]) -> None:
    """Nothing was refused, since each day only a little was marked: what waits is on its way out, too."""
    store = AgedStore(MemoryStore())
    refused: list[str] = []
    for day in range(60):
        await put(store, *(f"run-{day}-{number}" for number in range(3)))
        try:
            await sweep_of(store, Live(), max_share=DEFAULT_MAX_SHARE, no_runs=no_runs).run()
        except (ConfigError, LimitExceeded) as error:
            refused.append(error.todo)
        await store.age(timedelta(days=1))
    assert len(refused) > 45
    assert all("--max-share" in todo or f"--no-runs {TENANT}" in todo for todo in refused)
    assert len([key for key in await keys_of(store) if len(key.rpartition("/")[2]) == 64]) == 180


async def test_an_engine_that_shows_nothing_at_all_was_believed() -> None:
    store = AgedStore(MemoryStore())
    await put(store, "run")
    await store.age(LONG)
    before = await keys_of(store)
    for sweep in (sweep_of(store, Live(), no_runs=()), sweep_of(store, Live(), no_runs=("another",))):
        for work in (sweep.look, sweep.run):
            with pytest.raises(ConfigError, match=f"--no-runs {TENANT}"):
                await work()
    assert await keys_of(store) == before


async def test_what_was_written_for_a_namespace_that_is_gone_for_good_can_be_freed() -> None:
    store = AgedStore(MemoryStore())
    await put(store, "run", "other")
    assert (await swept_twice(sweep_of(store, Live(), no_runs=(TENANT,)), store)).deleted == 2
    # After that there is nothing that it would be strange not to see.
    assert (await sweep_of(store, Live(), no_runs=()).run()).found == [TENANT]


@pytest.mark.parametrize(
    "other",
    [Origin("cluster-2", "namespace-1"), Origin("cluster-1", "namespace-2"), Origin("", "namespace-2")],
)
async def test_another_cluster_or_namespace_of_the_same_name_was_asked(other: Origin) -> None:
    store = AgedStore(MemoryStore())
    await put(store, "run", "dead")
    await sweep_of(store, Placed("run")).run()
    await store.age(LONG)
    before = await keys_of(store)
    wrong = Placed("theirs", origin=other)
    for work in (sweep_of(store, wrong).look, sweep_of(store, wrong).run):
        with pytest.raises(ConfigError, match="--moved"):
            await work()
    assert await keys_of(store) == before
    assert (await sweep_of(store, Placed("run", origin=other), moved=True).run()).of(Action.MARK).scopes == 1
    # From now on it is the other way round.
    assert (await sweep_of(store, Placed("run", origin=other)).run()).of(Action.WAITING).scopes == 1
    if other.cluster:
        with pytest.raises(ConfigError, match="--moved"):
            await sweep_of(store, Placed("run")).run()


async def test_an_id_that_the_credentials_may_not_see_is_no_other_one() -> None:
    store = AgedStore(MemoryStore())
    await put(store, "run")
    for origin in (HERE, Origin("", "namespace-1"), Origin("cluster-1", ""), HERE):
        await sweep_of(store, Placed("run", origin=origin)).run()


async def test_a_look_remembers_nothing() -> None:
    store = AgedStore(MemoryStore())
    await put(store, "run")
    await sweep_of(store, Placed("run")).look()
    assert await remembered(store) == []


async def test_what_is_remembered_was_believed_whoever_wrote_it() -> None:
    store = AgedStore(MemoryStore())
    await put(store, "run")
    await sweep_of(store, Placed("run")).run()
    (key,) = await remembered(store)
    ours = await store.get(key)
    for planted in (b"", b"{}", ours[:-1], ours.replace(ours[-20:-10], bytes(10))):
        await store.replace(key, planted)
        with pytest.raises(ConfigError, match="not authentic"):
            await sweep_of(store, Placed("run")).run()
    await sweep_of(store, Placed("run"), moved=True).run()
    await sweep_of(store, Placed("run")).run()


async def test_a_rotation_forgot_whom_the_store_was_swept_for() -> None:
    store = AgedStore(MemoryStore())
    await put(store, "run")
    await sweep_of(store, Placed("run")).run()
    rotated = Keyring(Key(bytes(reversed(range(32)))), KEY)
    with pytest.raises(ConfigError, match="--moved"):
        await sweep_of(store, Placed("run", origin=Origin("cluster-2")), keyring=rotated).run()
    await sweep_of(store, Placed("run"), keyring=rotated).run()
    assert len(await remembered(store)) == 2


async def test_two_engines_whose_scopes_begin_alike() -> None:
    """Third parties' have one of 128 codes."""
    names = (f"mine-{number}" for number in range(1000))
    first = next(names)
    second = next(name for name in names if _code(name) == _code(first))
    store = AgedStore(MemoryStore())
    await put(store, "run", engine=first)
    await sweep_of(store, Placed("run", engine=first)).run()
    with pytest.raises(ConfigError, match="have the same code in scopes"):
        await sweep_of(store, Placed("run", engine=second)).run()


def _code(engine: str) -> int:
    from coatcheck.scope import engine_code  # noqa: PLC0415

    return engine_code(engine)


async def test_a_sweep_of_one_engine_marked_what_another_had_written() -> None:
    store = AgedStore(MemoryStore())
    await put(store, "run")
    await put(store, "run", engine="inngest")
    await put(store, "run", engine="restate")
    agent = Checkpoints(chain_on(store), run="run", tenant=TENANT)
    for step in range(5):
        await agent.save(random.Random(step).randbytes(900), step)
    await chain_on(store).encode(random.Random("tenant").randbytes(900), Scope(TENANT))
    everything = set(await keys_of(store))
    for _ in range(2):
        await store.age(LONG)
        assert (await sweep_of(store, None, engine="inngest").run()).objects <= 1
    prefixes = ScopePrefixes(chain_on(store).sealings)
    inngests = set(await keys_of(store, await prefixes.of(Scope(TENANT, "run", engine="inngest"))))
    left = set(await keys_of(store))
    assert everything - left == {key for key in everything if key.split("/")[1].startswith("03")}
    assert inngests == set()
    for _ in range(2):
        await store.age(LONG)
        rules = RetentionRules(grace=GRACE, idle=None, keep_last=1)
        await sweep_of(store, None, rules=rules).run()
    assert [one.step for one in await history(agent)] == [4]
    gone = left - set(await keys_of(store))
    assert all(key.split("/")[1].startswith("04") for key in gone)
    await swept_twice(sweep_of(store, Live()), store)
    assert (await chain_on(store).put(random.Random("run").randbytes(900), scope_of("run"))).object_id
    rest = {key.split("/")[1][:2] for key in await keys_of(store)}
    assert rest == {"00", "01", "02", "04"}


async def test_keys_that_name_nothing_in_the_store_found_nothing_and_said_fine() -> None:
    store = AgedStore(MemoryStore())
    await put(store, "run")
    other = Keyring(Key(bytes(reversed(range(32)))))
    report = await sweep_of(store, Live("run"), keyring=other).look()
    assert (report.found, report.objects) == ([], 0)
    assert (await sweep_of(store, Live("run")).look()).found == [TENANT]


async def test_an_engine_must_be_named() -> None:
    with pytest.raises(CoatcheckError):
        sweep_of(MemoryStore(), Placed(engine=""), engine="")
