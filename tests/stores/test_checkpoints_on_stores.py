"""Checkpoints on every store that people run: records are replaced and listed there, states are deltas."""

import asyncio
import os
import secrets
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage  # type: ignore[import-untyped]

from coatcheck import (
    Chain,
    Checkpoint,
    CheckpointConflict,
    Checkpoints,
    Encrypt,
    Key,
    Keyring,
    Offload,
    PayloadCache,
    PayloadNotFound,
    Reference,
    Scope,
    Store,
    StoreUnavailable,
    Zstd,
)
from coatcheck.format.states import pack
from coatcheck.storage.records import Position
from coatcheck.stores.file import FileStore
from coatcheck.stores.gcs import GCSStore
from coatcheck.stores.postgres import PostgresStore
from tests.chains import KEY, OTHER_KEY, history
from tests.engines.fault_proxy import Fault, FaultProxy, Request
from tests.stores.s3_fixtures import Bucket
from tests.stores.s3_fixtures import NewStore as NewS3Store

NewStore = Callable[[], Store]
"""Makes a store with a client of its own, at the same place each time: as another process would."""


def _gcs(endpoint: str) -> NewStore:
    client: Any = storage.Client(
        project="tests",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": endpoint},
    )
    name = f"bucket-{secrets.token_hex(8)}"
    client.create_bucket(name, retry=None)
    client.close()
    return lambda: GCSStore(name, endpoint_url=endpoint)


@pytest.fixture(params=["file", "s3", "gcs", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> NewStore:
    match request.param:
        case "s3":
            new_store: NewStore = request.getfixturevalue("new_store")
            return new_store
        case "gcs":
            return _gcs(request.getfixturevalue("gcs_server").endpoint)
        case "postgres":
            dsn, table = request.getfixturevalue("postgres_server").dsn(), f"objects_{secrets.token_hex(8)}"
            return lambda: PostgresStore(dsn, table=table)
        case _:
            return lambda: FileStore(tmp_path)


def _chain(store: Store, *keys: Key, deadline: float = 8.0) -> Chain:
    offload = Offload(store, deadline=deadline)
    return Chain(Zstd(), Encrypt(Keyring(*(keys or (KEY,)))), offload, cache=PayloadCache(2**26))


def _states(count: int) -> list[list[str]]:
    messages = [secrets.token_hex(20_000) for _ in range(count)]
    return [messages[: end + 1] for end in range(count)]


async def test_a_run_is_saved_listed_and_brought_back_by_another_process(place: NewStore) -> None:
    states = _states(7)
    async with _chain(place()) as writing:
        saved = Checkpoints(writing, run="run-1")
        references = [await saved.save(state, step=step) for step, state in enumerate(states)]
        await Checkpoints(writing, run="run-10").save("another run", step=99)
    assert sum(bool(reference.bases) for reference in references) >= 5
    async with _chain(place()) as reading:
        found = Checkpoints(reading, run="run-1")
        assert await found.restore() == states[-1]
        assert await found.read(str(references[3])) == states[3]
        listed = await history(found)
        assert [checkpoint.step for checkpoint in listed] == list(range(7))
        assert [item.step async for item in found.history(limit=2, before=listed[3])] == [2, 1]
        await found.save("said again", step=6)
    async with _chain(place()) as after:
        assert await Checkpoints(after, run="run-1").restore() == "said again"


async def test_rewinding_resumed_the_abandoned_future(place: NewStore) -> None:
    async with _chain(place()) as chain:
        first = Checkpoints(chain, run="run-1")
        for step in range(1, 6):
            await first.save(f"old {step}", step=step)
    async with _chain(place()) as chain:
        again = Checkpoints(chain, run="run-1")
        assert await again.restore(step=2) == "old 2"
        await again.save("new 3", step=3)
        assert await again.restore() == "new 3"
        with pytest.raises(CheckpointConflict):
            await first.save("old 6", step=6)
    async with _chain(place()) as chain:
        found = Checkpoints(chain, run="run-1")
        assert await found.restore() == "new 3"
        assert await found.read(step=2) == "old 2"
        assert await found.read(step=5, branch=0) == "old 5"
        with pytest.raises(PayloadNotFound, match="step 5"):
            await found.at(5)
        assert await found.delete(branch=0) == 5
        assert [(item.branch, item.step) for item in await history(found)] == [(1, 3)]
    async with _chain(place()) as chain:
        found = Checkpoints(chain, run="run-1")
        assert await found.restore() == "new 3"
        other = await found.fork(run="run-2")
        assert await found.delete() == 1
        assert await history(found) == []
        assert await other.restore() == "new 3"


async def test_a_rotation_hides_nothing(place: NewStore) -> None:
    async with _chain(place()) as before:
        await Checkpoints(before, run="run-1").save("old", step=0)
    async with _chain(place(), OTHER_KEY, KEY) as after:
        checkpoints = Checkpoints(after, run="run-1")
        assert await checkpoints.restore() == "old"
        await checkpoints.save("new", step=1)
        assert [checkpoint.step for checkpoint in await history(checkpoints)] == [0, 1]


async def test_two_writers_of_one_run_were_not_told_of_each_other(place: NewStore) -> None:
    async with _chain(place()) as chain, _chain(place()) as other:
        await Checkpoints(chain, run="run-1").save("begun", step=0)
        writers = [Checkpoints(one, run="run-1") for one in (chain, other, chain, other)]
        for writer in writers:
            await writer.restore()
        outcomes = await asyncio.gather(
            *(writer.save(f"value {number}", step=1) for number, writer in enumerate(writers)),
            return_exceptions=True,
        )
        (won,) = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Reference)]
        assert await Checkpoints(other, run="run-1").restore() == f"value {won}"
        for number, outcome in enumerate(outcomes):
            if number != won:
                assert isinstance(outcome, CheckpointConflict)
                assert await Checkpoints(other, run="run-1").restore(outcome.reference) == f"value {number}"
        # Whoever lost goes on by looking.
        loser = writers[won - 1]
        assert await loser.restore() == f"value {won}"
        await loser.save("together", step=2)
        assert [item.step for item in await history(loser)] == [0, 1, 2]


async def test_a_run_without_checkpoints_says_so(place: NewStore) -> None:
    async with _chain(place()) as chain:
        checkpoints = Checkpoints(chain, run="never")
        assert await checkpoints.latest() is None
        with pytest.raises(PayloadNotFound, match="no checkpoint"):
            await checkpoints.restore()
        assert await checkpoints.delete() == 0


MANY = int(os.environ.get("COATCHECK_LARGE_RUN", "1200"))
"""Checkpoints; with 100000 the run that could be saved but never restored."""
MOST = 4
"""Requests."""


async def _filled(chain: Chain, count: int) -> None:
    """Write the records of steps 0 to ``count`` concurrently, as no agent does it; most share a state."""
    scope = Scope("default", "long", engine="checkpoints")
    ledger = chain.ledger(scope)
    own = {7, count // 2, count - 1}
    payloads = {step: pack({"step": step, "random": secrets.token_hex(40)}) for step in (*own, -1)}
    references = {step: await chain.put(payload, scope) for step, payload in payloads.items()}

    async def put(part: int) -> None:
        for step in range(part, count, 32):
            of = step if step in own else -1
            checkpoint = Checkpoint(
                step=step,
                saved_at=datetime.now(UTC),
                size=len(payloads[of]),
                kind="json",
                reference=references[of],
                run="long",
            )
            await ledger.create(Position(0, step), checkpoint.model_dump_json().encode())

    await asyncio.gather(*map(put, range(32)))


async def _save(run: Checkpoints) -> None:
    await run.save({"step": MANY}, step=MANY)


async def _restore(run: Checkpoints) -> None:
    assert (await run.restore())["step"] == MANY


async def _latest(run: Checkpoints) -> None:
    found = await run.latest()
    assert found is not None
    assert found.step == MANY


async def _at(run: Checkpoints) -> None:
    assert (await run.at(MANY // 2)).step == MANY // 2


async def _restore_at(run: Checkpoints) -> None:
    assert (await run.restore(step=7))["step"] == 7


async def _at_on_a_branch(run: Checkpoints) -> None:
    assert (await run.at(7)).branch == 0
    assert (await run.at(8)).branch == 1


@contextmanager
def _counted(requests: list[str], what: str, most: int) -> Iterator[None]:
    requests.clear()
    started = time.monotonic()
    yield
    print(f"{what}: {len(requests)} requests, {time.monotonic() - started:.2f} s")  # noqa: T201
    assert len(requests) <= most, requests


@pytest.fixture
async def long_run(new_store: NewS3Store, bucket: Bucket) -> AsyncIterator[tuple[NewStore, list[str]]]:
    """A run of many checkpoints, behind a proxy that writes down what is asked."""
    async with _chain(new_store(), deadline=120) as writing:
        await _filled(writing, MANY)
    requests: list[str] = []

    def plan(request: Request) -> Fault:
        requests.append(f"{request.method} {request.target[:200]}")
        return Fault.NONE

    async with FaultProxy(bucket.server.endpoint, plan) as proxy:
        yield lambda: new_store(endpoint=proxy.endpoint), requests


async def test_a_long_run_could_be_saved_but_not_restored(long_run: tuple[NewStore, list[str]]) -> None:
    new, requests = long_run
    for call in (_save, _restore, _latest, _at, _restore_at):
        async with _chain(new()) as chain:
            with _counted(requests, call.__name__, MOST):
                await call(Checkpoints(chain, run="long"))
    async with _chain(new()) as chain:
        run = Checkpoints(chain, run="long")
        await run.restore(step=7)
        with _counted(requests, "save after going back", MOST):
            await run.save({"step": 8, "again": True}, step=8)
        with _counted(requests, "save in the same process", MOST - 1):
            await run.save({"step": 9, "again": True}, step=9)
    async with _chain(new()) as chain:
        with _counted(requests, "two of a branch", 2 * MOST - 1):
            await _at_on_a_branch(Checkpoints(chain, run="long"))
    async with _chain(new()) as chain:
        # Nothing was restored, and the branch that it continues has to be looked up.
        with _counted(requests, "save on a branch", MOST + 1):
            await Checkpoints(chain, run="long").save({"step": 10}, step=10)


async def test_a_long_run_is_listed_from_anywhere_and_held_nowhere(
    long_run: tuple[NewStore, list[str]],
) -> None:
    new, requests = long_run
    async with _chain(new()) as chain:
        run = Checkpoints(chain, run="long")
        with _counted(requests, "the newest 20", 21):
            newest = [item async for item in run.history(limit=20)]
        assert [item.step for item in newest] == list(range(MANY - 1, MANY - 21, -1))
        with _counted(requests, "20 before them", 30):
            page = [item.step async for item in run.history(limit=20, before=newest[-1])]
        assert page == list(range(MANY - 21, MANY - 41, -1))
        tracemalloc.start()
        try:
            with _counted(requests, "all", MANY + 3 * (MANY // 1000 + 1) + 30):
                steps = 0
                async for item in run.history():
                    steps += 1
                    assert item.step == MANY - steps
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert steps == MANY
    print(f"history: {peak / 2**20:.0f} MiB at most")  # noqa: T201
    # A page of records, whatever there is of them.
    assert peak < 48 * 2**20


@pytest.mark.long
async def test_a_long_run_on_a_store_that_is_far_away_is_listed_a_page_at_a_time(
    new_store: NewS3Store, bucket: Bucket
) -> None:
    """One deadline for a whole listing ended it, with 0.3 s a page at about 30,000."""
    async with _chain(new_store(), deadline=120) as writing:
        await _filled(writing, 2200)
    lists: list[float] = []

    def plan(request: Request) -> Fault:
        if "list-type" in request.target:
            lists.append(time.monotonic())
            return Fault.LATE
        return Fault.NONE

    async with (
        FaultProxy(bucket.server.endpoint, plan, pause=3) as proxy,
        _chain(new_store(endpoint=proxy.endpoint), deadline=8) as chain,
    ):
        assert len(await history(Checkpoints(chain, run="long"))) == 2200
    assert lists[-1] - lists[0] > 8


async def test_a_save_whose_acknowledgement_was_lost_is_no_conflict_with_itself(
    new_store: NewS3Store, bucket: Bucket
) -> None:
    lost: list[int] = []

    def plan(request: Request) -> Fault:
        if request.method == "PUT" and "/step-" in request.target and lost and lost.pop():
            return Fault.LOST_ACKNOWLEDGEMENT
        return Fault.NONE

    async with (
        FaultProxy(bucket.server.endpoint, plan) as proxy,
        _chain(new_store(endpoint=proxy.endpoint), deadline=4) as chain,
    ):
        writer = Checkpoints(chain, run="run-1")
        await writer.save("first", step=1)
        # The retry finds the record there.
        lost[:] = [1]
        await writer.save("second", step=2)
        # Nobody hears of any attempt, and the agent thinks again.
        lost[:] = [1] * 40
        with pytest.raises(StoreUnavailable):
            await writer.save("third", step=3)
        lost.clear()
        await writer.save("third, thought anew", step=3)
        await writer.save("fourth", step=4)
        found = await history(writer)
        assert [(item.branch, item.step) for item in found] == [(0, 1), (0, 2), (0, 3), (1, 3), (1, 4)]
        assert await writer.read(step=3) == "third, thought anew"
        assert await writer.read(step=2) == "second"
