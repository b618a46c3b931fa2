"""Retries and limits, with a store that fails as it is told."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from benchmarks.loads import virtual_time
from coatcheck import IntegrityError, MemoryStore, StoreDenied, StoreUnavailable
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.storage.client import StoreClient
from coatcheck.storage.limiter import Limiter
from tests.chains import SCOPE, encrypted_chain
from tests.runtime.test_forks import in_child

DOWN = StoreUnavailable("down")


class Failing(MemoryStore):
    """Raises what it is given, one a call, before it works."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.errors = list(errors)
        self.calls = 0

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return b"data"


async def test_unavailable_is_tried_again() -> None:
    store = Failing(DOWN, DOWN, DOWN)
    assert await StoreClient(store).get("k", 4) == b"data"
    assert store.calls == 4


@pytest.mark.parametrize(
    "error", [StoreDenied("no"), IntegrityError("bad"), TimeoutError("of the store itself")]
)
async def test_other_errors_are_raised_at_once(error: Exception) -> None:
    store = Failing(error)
    with pytest.raises(type(error), match=str(error)):
        await StoreClient(store).get("k", 4)
    assert store.calls == 1


async def test_retries_end_at_the_deadline_with_the_last_error() -> None:
    store = Failing(*[DOWN] * 10_000)
    with pytest.raises(StoreUnavailable, match="down"):
        await StoreClient(store, deadline=0.3).get("k", 4)
    assert store.calls > 2


async def test_a_store_that_hangs_is_given_up_at_the_deadline() -> None:
    class Hanging(MemoryStore):
        async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
            await asyncio.Event().wait()
            raise AssertionError

    with pytest.raises(StoreUnavailable, match=r"no answer within 0.05 seconds"):
        await StoreClient(Hanging(), deadline=0.05).get("k", 4)


class Slow(MemoryStore):
    """Takes 20 seconds for each object."""

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        await asyncio.sleep(20)
        return b""


def test_a_large_object_was_given_up_at_the_deadline_of_a_small_one() -> None:
    async def seconds(size: int) -> float:
        with suppress(StoreUnavailable):
            await StoreClient(Slow(), deadline=8).get("k", size)
        return asyncio.get_running_loop().time()

    assert virtual_time.run(seconds(0)) == pytest.approx(8, abs=0.01)
    assert virtual_time.run(seconds(16 * 2**20)) == pytest.approx(20, abs=0.01)


def test_the_wait_in_the_queue_was_outside_of_the_deadline() -> None:
    async def seconds(before: int) -> float:
        limiter = Limiter(1, 2**30)
        first = asyncio.create_task(StoreClient(Slow(), 60, limiter).get("k", before))
        await asyncio.sleep(0)
        with suppress(StoreUnavailable):
            await StoreClient(MemoryStore(), 8, limiter).list_first("k", 1)
        waited = asyncio.get_running_loop().time()
        await first
        return waited

    assert virtual_time.run(seconds(0)) == pytest.approx(8, abs=0.01)
    # It grows with the bytes before it: 256 MiB are 16 seconds.
    assert virtual_time.run(seconds(2**28)) == pytest.approx(20, abs=0.01)


async def test_retry_after_beyond_the_deadline_is_not_waited_for() -> None:
    store = Failing(StoreUnavailable("busy", retry_after=60))
    with pytest.raises(StoreUnavailable, match="busy"):
        await StoreClient(store).get("k", 4)
    assert store.calls == 1


async def test_retry_after_within_the_deadline_is_honoured() -> None:
    store = Failing(StoreUnavailable("busy", retry_after=0.2))
    start = time.monotonic()
    await StoreClient(store).get("k", 4)
    assert time.monotonic() - start >= 0.2


async def test_a_damaged_answer_is_fetched_once_more() -> None:
    class Noisy(MemoryStore):
        damaged = 0

        async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
            data = await super().get(key, limit)
            self.damaged -= 1
            return data[:-1] + bytes([data[-1] ^ 1]) if self.damaged >= 0 else data

    store = Noisy()
    chain = encrypted_chain(store)
    data = b"".join(n.to_bytes(2, "big") for n in range(3000))
    journal = await chain.encode(data, SCOPE)
    store.damaged = 1
    assert await chain.open(journal, SCOPE) == data
    store.damaged = 2
    with pytest.raises(IntegrityError):
        await chain.open(journal, SCOPE)


async def peak(limiter: Limiter, sizes: list[int]) -> tuple[int, int]:
    """How many operations and bytes were ever under way at once."""
    now, most = [0, 0], [0, 0]

    async def work(size: int) -> None:
        async with limiter.hold(size):
            for position, amount in enumerate((1, size)):
                now[position] += amount
                most[position] = max(most[position], now[position])
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            now[0] -= 1
            now[1] -= size

    await asyncio.gather(*map(work, sizes))
    assert now == [0, 0]
    return most[0], most[1]


async def test_operations_and_bytes_are_bounded_and_all_get_their_turn() -> None:
    assert await peak(Limiter(4, 1000), [1] * 100) == (4, 4)
    operations, size = await peak(Limiter(100, 1000), [300] * 50)
    assert (operations, size) == (3, 900)


async def test_one_that_is_larger_than_the_limit_goes_alone() -> None:
    limiter = Limiter(10, 1000)
    operations, size = await peak(limiter, [5000] * 5)
    assert (operations, size) == (1, 5000)
    await asyncio.wait_for(peak(limiter, [400, 5000, 400, 5000, 1]), 60)


async def test_those_who_leave_the_queue_give_way_to_those_behind() -> None:
    limiter = Limiter(1, 1000)
    gate = asyncio.Event()

    async def work(wait: Callable[[], object]) -> None:
        async with limiter.hold(10):
            await asyncio.wait_for(gate.wait(), 60)

    for cancelled_after in range(6):
        gate.clear()
        tasks = [asyncio.create_task(work(gate.wait)) for _ in range(3)]
        for _ in range(cancelled_after):
            await asyncio.sleep(0)
        tasks[1].cancel()
        gate.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in done] == [type(None), asyncio.CancelledError, type(None)]
        assert await asyncio.wait_for(peak(limiter, [1] * 3), 60) == (1, 1)


async def test_one_cancelled_in_the_moment_of_its_turn_gives_the_place_back() -> None:
    limiter = Limiter(1, 1000)
    async with limiter.hold(1):
        waiting = asyncio.create_task(peak(limiter, [1]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    waiting.cancel()  # admitted just now, and not yet resumed
    await asyncio.gather(waiting, return_exceptions=True)
    assert await asyncio.wait_for(peak(limiter, [1] * 3), 60) == (1, 1)


def test_several_event_loops_share_one_limit() -> None:
    limiter = Limiter(2, 1000)
    lock, now, most = threading.Lock(), [0], [0]
    finished: list[None] = []

    async def work() -> None:
        async with limiter.hold(1):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            await asyncio.sleep(0.001)
            with lock:
                now[0] -= 1

    async def many() -> None:
        await asyncio.wait_for(asyncio.gather(*(work() for _ in range(50))), 30)

    threads = [threading.Thread(target=lambda: finished.append(asyncio.run(many()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(finished) == 4
    assert most[0] == 2


def test_a_loop_that_was_closed_while_it_waited_does_not_keep_its_place() -> None:
    limiter = Limiter(1, 1000)
    holder = asyncio.new_event_loop()
    place = limiter.hold(1)
    holder.run_until_complete(place.__aenter__())
    gone = asyncio.new_event_loop()
    waiting = limiter.hold(1)
    task = gone.create_task(waiting.__aenter__())
    gone.run_until_complete(asyncio.sleep(0))
    gone.close()
    holder.run_until_complete(place.__aexit__(None, None, None))
    assert holder.run_until_complete(asyncio.wait_for(peak(limiter, [1]), 60)) == (1, 1)
    holder.close()
    setattr(task, "_log_destroy_pending", False)  # noqa: B010 - it is meant to stay pending


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_places_that_were_taken_at_a_fork_were_taken_for_ever_in_the_child() -> None:
    limiter = Limiter(1, 1000)
    asyncio.run(limiter._acquire(10))  # by a call that is under way

    async def held() -> bool:
        async with asyncio.timeout(60), limiter.hold(10):
            return True

    assert in_child(lambda: asyncio.run(held()))
    assert limiter.ahead == 10
