"""What is fetched ahead gives way to what somebody waits for."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

import pytest

from benchmarks.loads import virtual_time
from coatcheck import Chain, MemoryStore, Offload, PayloadCache, Scope, StoreUnavailable, Zstd
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.format.reference import Reference
from coatcheck.runtime.concurrency import all_at_once
from tests.chains import SCOPE
from tests.pipeline.test_deltas import turns

RUNS, PAYLOADS = 20, 70
DEADLINE = 8.0


class _HangingReads(MemoryStore):
    """Answers for the objects that it is told to, and never for others."""

    def __init__(self) -> None:
        super().__init__()
        self.answers_for: set[str] = set()

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        if key.rpartition("/")[2] not in self.answers_for:
            await asyncio.sleep(3600)
        return await super().get(key, limit)


def _chain(store: MemoryStore) -> Chain:
    return Chain(Zstd(), Offload(store, over=0, deadline=DEADLINE), cache=PayloadCache(0))


def test_no_call_waits_for_what_other_runs_fetch_ahead() -> None:
    """A worker replays many runs when reads hang: a call still ends within its own deadline."""
    write, read = virtual_time.run(_seconds_of_a_write_and_a_read())
    assert write == 0
    assert read <= DEADLINE + 1


async def _seconds_of_a_write_and_a_read() -> tuple[float, float]:
    store = _HangingReads()
    chain = _chain(store)
    references = {
        Scope("t", f"run-{run}"): await all_at_once(
            chain.encode(payload, Scope("t", f"run-{run}"))
            for payload in [f"{run} {number}".encode() for number in range(PAYLOADS)]
        )
        for run in range(RUNS)
    }
    store.answers_for = {Reference.from_bytes(run[0]).object_id.hex() for run in references.values()}
    async with _chain(store) as chain:
        # The listing of each run begins with its first read, and the fetches ahead when it ends.
        await asyncio.gather(*(chain.decode(run[0], scope) for scope, run in references.items()))
        await asyncio.sleep(DEADLINE / 5)
        loop = asyncio.get_running_loop()
        started = loop.time()

        async def seconds(call: Awaitable[bytes]) -> float:
            with suppress(StoreUnavailable):
                await call
            return loop.time() - started

        last_run = Scope("t", f"run-{RUNS - 1}")
        return await asyncio.gather(
            seconds(chain.encode(b"new", Scope("t", "another"))),
            seconds(chain.decode(references[last_run][-1], last_run)),
        )


class _SlowReads(MemoryStore):
    """Takes three quarters of a deadline for each object."""

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        await asyncio.sleep(DEADLINE * 3 / 4)
        return await super().get(key, limit)


def test_a_payload_that_takes_two_round_trips_had_the_deadline_twice() -> None:
    """Its reference lists no base, and its object is a delta by now: the base is known only when the object is read."""

    async def seconds() -> float:
        first, second = turns(2)
        store = _SlowReads()
        whole = await _chain(MemoryStore()).encode(second, SCOPE)
        writer = Chain(Zstd(), Offload(store, over=0), cache=PayloadCache(2**20))
        await writer.encode(first, SCOPE)
        assert Reference.from_bytes(await writer.encode(second, SCOPE)).bases
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with _chain(store) as reader:
            with pytest.raises(StoreUnavailable):
                await reader.decode(whole, SCOPE)
        return loop.time() - started

    assert DEADLINE <= virtual_time.run(seconds()) < DEADLINE + 1
