"""Reading ahead: it pays, or it stops; and it is bounded, whatever lies in a scope."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from benchmarks.loads import virtual_time
from coatcheck import (
    Chain,
    Encrypt,
    Keyring,
    MemoryStore,
    Offload,
    PayloadCache,
    Scope,
    StoredObject,
    StoreUnavailable,
)
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.format.reference import Reference
from coatcheck.storage import prefetch
from coatcheck.storage.records import Position
from coatcheck.storage.scoped_store import PROCESS_SCOPES
from tests.chains import KEY, SCOPE, keys_in

PAGE = 1000


class Counting(MemoryStore):
    """Counts requests as a server would see them: a listing is one for each page that somebody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[str] = []
        self.read = 0

    async def create(self, key: str, data: bytes) -> bool:
        self.requests.append("create")
        return await super().create(key, data)

    async def replace(self, key: str, data: bytes) -> None:
        self.requests.append("replace")
        await super().replace(key, data)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        self.requests.append("get")
        data = await super().get(key, limit)
        self.read += len(data)
        return data

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        count = 0
        async for entry in super().list_objects(prefix):
            if count % PAGE == 0:
                self.requests.append("list")
            count += 1
            yield entry

    async def list_first(self, prefix: str, count: int) -> list[StoredObject]:
        self.requests.append("list")
        found = [entry async for entry in MemoryStore.list_objects(self, prefix)]
        return found[:count]


def chain_on(store: MemoryStore, **options: float) -> Chain:
    return Chain(Encrypt(Keyring(KEY)), Offload(store, over=0, **options), cache=PayloadCache(0))  # type: ignore[arg-type]


def payload(number: int) -> bytes:
    return f"payload {number}".encode() * 3


@pytest.fixture(scope="module")
def large() -> tuple[dict[str, tuple[bytes, datetime]], list[bytes]]:
    """A scope of 8,000 objects, and the journal."""
    store = MemoryStore()

    async def write() -> list[bytes]:
        chain = chain_on(store)
        return [await chain.encode(payload(number), SCOPE) for number in range(8_000)]

    journals = asyncio.run(write())
    return store._objects, journals


def store_of(objects: dict[str, tuple[bytes, datetime]]) -> Counting:
    store = Counting()
    store._objects = dict(objects)
    return store


Large = tuple[dict[str, tuple[bytes, datetime]], list[bytes]]


async def test_one_call_in_a_large_scope_listed_it_from_end_to_end(large: Large) -> None:
    objects, journals = large
    store = store_of(objects)
    chain = chain_on(store)
    assert await chain.encode(b"never seen before", SCOPE)
    assert store.requests == ["create"]

    store = store_of(objects)
    assert await chain_on(store).encode(payload(7), SCOPE) == journals[7]
    assert len(store.requests) <= 4

    store = store_of(objects)
    chain = chain_on(store)
    assert await chain.open(journals[7], SCOPE) == payload(7)
    await chain.close()
    assert len(store.requests) <= 2

    store = store_of(objects)
    await chain_on(store).ledger(SCOPE).create(Position(0, 1), b"record")
    assert len(store.requests) <= 3


async def test_three_payloads_of_a_large_scope_took_a_thousand_gets(large: Large) -> None:
    objects, journals = large
    store = store_of(objects)
    chain = chain_on(store)
    for number in (5, 3_000, 7_000):
        assert await chain.open(journals[number], SCOPE) == payload(number)
        await asyncio.sleep(0.05)
    assert store.requests.count("get") == 3
    assert store.requests.count("list") <= 1 + 1 + 2


async def test_what_does_not_hit_is_not_gone_on_with() -> None:
    store = Counting()
    chain = chain_on(store)
    journals = [await chain.encode(payload(number), SCOPE) for number in range(900)]
    store.requests.clear()
    cold = chain_on(store)
    for number in (5, 600, 100, 800, 300, 700):
        assert await cold.open(journals[number], SCOPE) == payload(number)
        await asyncio.sleep(0.02)
    assert store.requests.count("get") <= 200


async def test_a_replay_of_a_large_scope_is_fetched_ahead(large: Large) -> None:
    """The listing grows while it is replayed, and then all the rest comes ahead."""
    objects, journals = large
    store = store_of(objects)
    chain = chain_on(store)
    await chain.replaying(SCOPE)
    for number in range(1_200):
        assert await chain.open(journals[number], SCOPE) == payload(number)
    assert store.requests.count("list") <= 20
    assert store.requests.count("get") <= 1_200 + 1_024 + 20


def windows() -> list[prefetch.Window]:
    """All of the process."""
    states = [state for state, _ in PROCESS_SCOPES._things.values()]
    found = [window for state in states for window in state.windows.values()]
    return [window for window in found if isinstance(window, prefetch.Window)]


async def test_what_was_fetched_for_a_replay_that_stopped_stayed_for_good() -> None:
    store = Counting()
    chain = chain_on(store)
    journals = [await chain.encode(payload(number) * 500, SCOPE) for number in range(40)]
    cold = chain_on(store)
    for journal in journals[:3]:
        await cold.open(journal, SCOPE)
    (window,) = [window for window in windows() if window._ahead]
    (known,) = [state for state, _ in PROCESS_SCOPES._things.values() if window in state.windows.values()]
    assert known.cost > window._ahead_size > 0  # it counts for the bound of the process
    assert window._expiry is not None
    window._used -= prefetch._IDLE
    window._expire()  # as the loop does in a minute
    assert (len(window._ahead), window._ahead_size) == (0, 0)
    store.requests.clear()
    assert await cold.open(journals[20], SCOPE) == payload(20) * 500
    assert store.requests.count("get") >= 1


def test_each_event_loop_that_ended_left_its_windows_behind() -> None:
    store = MemoryStore()

    async def write() -> list[bytes]:
        chain = chain_on(store)
        return [await chain.encode(payload(number) * 5_000, SCOPE) for number in range(40)]

    journals = asyncio.run(write())
    cold = chain_on(store)

    async def read() -> None:
        for journal in journals[:3]:
            await cold.open(journal, SCOPE)

    for _ in range(8):
        asyncio.run(read())
    mine = [window for window in windows() if window._scope.prefix in "".join(store._objects)]
    assert sum(window._loop.is_closed() for window in mine) <= 1


async def test_a_planted_giant_was_fetched_ahead_and_read(caplog: pytest.LogCaptureFixture) -> None:
    store = Counting()
    small = 100_000
    chain = Chain(Encrypt(Keyring(KEY)), Offload(store, over=0), cache=PayloadCache(0), max_payload=small)
    journals = [await chain.encode(payload(number), SCOPE) for number in range(5)]
    prefix = (await keys_in(store))[0].rpartition("/")[0]
    giant = f"{prefix}/{'ab' * 32}"
    store._objects[giant] = bytes(5 * small), datetime.now(UTC)
    store.read = 0
    with caplog.at_level(logging.WARNING):
        cold = Chain(Encrypt(Keyring(KEY)), Offload(store, over=0), cache=PayloadCache(0), max_payload=small)
        for number, journal in enumerate(journals):
            assert await cold.open(journal, SCOPE) == payload(number)
            await asyncio.sleep(0.02)
        await cold.close()
    assert store.read < small
    assert [giant in record.getMessage() for record in caplog.records] == [True]


class Silent(MemoryStore):
    """Answers nothing at all."""

    async def create(self, key: str, data: bytes) -> bool:
        await asyncio.Event().wait()
        raise AssertionError

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        await asyncio.Event().wait()
        yield StoredObject(prefix, 0, datetime.now(UTC))


def test_a_silent_store_kept_a_cold_replay_for_the_listing_and_then_for_the_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def replay() -> float:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr("time.monotonic", loop.time)
        async with chain_on(Silent(), deadline=8) as chain:
            await chain.replaying(SCOPE)
            with pytest.raises(StoreUnavailable):
                await chain.encode(b"x" * 100, SCOPE)
            return loop.time()

    assert virtual_time.run(replay()) == pytest.approx(8, abs=0.01)


def test_a_listing_that_hangs_took_all_the_time_of_the_write() -> None:
    class Unlisted(MemoryStore):
        async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
            await asyncio.Event().wait()
            yield StoredObject(prefix, 0, datetime.now(UTC))

    async def replay() -> float:
        async with chain_on(Unlisted(), deadline=8) as chain:
            await chain.replaying(SCOPE)
            await chain.encode(b"x" * 100, SCOPE)
            return asyncio.get_running_loop().time()

    assert virtual_time.run(replay()) <= 4


def test_many_calls_to_a_store_that_hangs_keep_nobody_else_waiting() -> None:
    """One after the other in the queue, each had the whole time again: 200 calls took four times as long as one may."""

    async def seconds(chain: Chain, number: int) -> float:
        loop = asyncio.get_running_loop()
        started = loop.time()
        with suppress(StoreUnavailable):
            await chain.encode(payload(number), Scope("t", str(number)))
        return loop.time() - started

    async def call_both() -> tuple[float, list[float]]:
        async with chain_on(Silent(), deadline=8) as hanging, chain_on(MemoryStore(), deadline=8) as well:
            waits = asyncio.gather(*(seconds(hanging, number) for number in range(200)))
            await asyncio.sleep(1)
            return await seconds(well, 0), await waits

    other, waits = virtual_time.run(call_both())
    assert other == 0
    # The deadline of a payload grows with the bytes that are under way before it.
    assert 8 <= max(waits) < 12


async def test_a_reference_whose_object_was_replaced_by_a_giant_is_an_error_without_reading_it() -> None:
    store = Counting()
    journal = await chain_on(store).encode(payload(1), SCOPE)
    (key,) = await keys_in(store)
    store._objects[key] = bytes(2**25), datetime.now(UTC)
    store.read = 0
    with pytest.raises(Exception, match="bytes, at most") as raised:
        await chain_on(store).open(journal, SCOPE)
    assert Reference.from_bytes(journal).object_id.hex() in str(raised.value)
    # Whoever writes the payload again puts that right, and reads no more of it.
    assert await chain_on(store).encode(payload(1), SCOPE) == journal
    assert store.read == 0
    assert await chain_on(store).open(journal, SCOPE) == payload(1)
