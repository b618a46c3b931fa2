"""The claims on size and requests, without the speeds: what ``benchmarks.storage`` measures, in seconds."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

import pytest

from benchmarks.loads import series, virtual_time
from benchmarks.loads.counted import Counted
from benchmarks.loads.schemes import Coatcheck
from coatcheck import MemoryStore, Zstd

DELAY = 0.05


@dataclass(frozen=True)
class Saved:
    """What a run left behind."""

    store: Counted
    journal: tuple[bytes, ...]
    payloads: tuple[bytes, ...]
    size: int
    puts: int


def save(payloads: Iterator[bytes]) -> Saved:
    async def work() -> Saved:
        store = Counted(MemoryStore())
        scheme = Coatcheck(store)
        kept = tuple(payloads)
        journal = [await scheme.write(payload) for payload in kept]
        await scheme.close()
        return Saved(store, tuple(journal), kept, sum(await store.sizes()), store.requests["puts"])

    return virtual_time.run(work())


@cache
def turns(count: int) -> Saved:
    return save(series.turns(count))


@pytest.fixture
def sixty() -> Saved:
    saved = turns(60)
    saved.store.forget_counts()
    saved.store.delay = DELAY
    return saved


def test_60_turns_take_60_puts_and_0_62_mb(sixty: Saved) -> None:
    assert sum(map(len, sixty.payloads)) > 18.7e6
    assert sixty.size <= 0.62e6
    assert sixty.puts == 60


def test_what_is_stored_grows_with_the_turns_and_not_with_their_square(sixty: Saved) -> None:
    assert turns(120).size <= 2.4 * sixty.size


def test_the_last_turn_is_6_gets_away_in_one_round_trip(sixty: Saved) -> None:
    async def work() -> float:
        scheme = Coatcheck(sixty.store)
        assert await scheme.read(sixty.journal[-1]) == sixty.payloads[-1]
        taken = asyncio.get_running_loop().time()
        await asyncio.sleep(100 * DELAY)
        await scheme.close()
        return taken

    assert virtual_time.run(work()) == pytest.approx(DELAY)
    assert sixty.store.requests["gets"] <= 6


def test_a_warm_replay_asks_for_nothing(sixty: Saved) -> None:
    async def work() -> None:
        scheme = Coatcheck(sixty.store)
        for item in sixty.journal:
            await scheme.read(item)
        sixty.store.forget_counts()
        for item, payload in zip(sixty.journal, sixty.payloads, strict=True):
            assert await scheme.write(payload) == item
            assert await scheme.read(item) == payload
        assert sixty.store.requests.total() == 0
        await scheme.close()

    virtual_time.run(work())


@pytest.mark.parametrize("begins_with_encoding", [False, True])
def test_a_cold_replay_takes_one_get_an_object_and_hardly_any_time(
    sixty: Saved, *, begins_with_encoding: bool
) -> None:
    """An engine encodes each step's input again, and decodes its result."""

    async def work() -> float:
        scheme = Coatcheck(sixty.store)
        for item, payload in zip(sixty.journal, sixty.payloads, strict=True):
            if begins_with_encoding:
                assert await scheme.write(payload) == item
            assert await scheme.read(item) == payload
            if not begins_with_encoding:
                assert await scheme.write(payload) == item
        taken = asyncio.get_running_loop().time()
        await scheme.close()
        assert len(await sixty.store.sizes()) == 60
        return taken

    assert virtual_time.run(work()) < 10 * DELAY
    requests = sixty.store.requests
    assert max(sixty.store.asked.values()) == 1
    assert requests["lists"] == 1
    # A process that has seen nothing of the scope cannot tell a replay from a new run before its first attempt.
    assert requests["puts"] <= begins_with_encoding


@pytest.mark.parametrize(
    "make",
    [
        partial(series.alternating, 40),
        partial(series.trimmed, 40, keep=10),
        partial(series.summarised, 40, keep=8),
        partial(series.shuffled, 20),
        partial(series.images, 10),
        partial(series.embeddings, 16),
        partial(series.unrelated, 16),
    ],
    ids=lambda make: make.func.__name__,
)
def test_hard_data_is_never_larger_than_compressed_whole(make: Callable[[], Iterator[bytes]]) -> None:
    whole = sum(len(Zstd().encode(payload) or payload) for payload in make())
    assert save(make()).size <= 1.01 * whole


def test_two_agents_of_one_run_do_not_get_into_each_other_s_way() -> None:
    together = save(series.alternating(40)).size
    apart = sum(save(series.turns(20, seed)).size for seed in (0, 1))
    assert together <= 1.05 * apart


def test_checkpoints_shrink_with_what_they_change() -> None:
    saved = save(series.checkpoints(8, 1_000_000))
    assert saved.size * 28 <= sum(map(len, saved.payloads))
