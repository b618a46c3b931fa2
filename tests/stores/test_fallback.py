"""FallbackStore: which store a read is answered from, and which error is raised when none answers."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from coatcheck.contracts.store import DEFAULT_LIMIT, Store, StoredObject
from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    LimitExceeded,
    PayloadNotFound,
    StoreDenied,
    StoreUnavailable,
)
from coatcheck.stores.fallback import FallbackStore
from coatcheck.stores.file import FileStore
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import StoreSuite

KEY = "t/s/o"


class TestFallbackStore(StoreSuite):
    @pytest.fixture
    def store(self) -> FallbackStore:
        return FallbackStore(MemoryStore(), MemoryStore(), MemoryStore())

    async def raw_get(self, store: Store, key: str) -> bytes | None:
        try:
            return await _primary_of(store).get(key)
        except PayloadNotFound:
            return None

    async def raw_set(self, store: Store, key: str, data: bytes) -> None:
        await _primary_of(store).replace(key, data)


class TestFallbackOfFiles(TestFallbackStore):
    @pytest.fixture
    def store(self, tmp_path_factory: pytest.TempPathFactory) -> FallbackStore:
        first, second = (FileStore(tmp_path_factory.mktemp("region")) for _ in range(2))
        return FallbackStore(first, second)


class TestFallbackWithoutPatience(TestFallbackStore):
    """All stores are asked at once."""

    @pytest.fixture
    def store(self, tmp_path_factory: pytest.TempPathFactory) -> FallbackStore:
        first, second = (FileStore(tmp_path_factory.mktemp("region")) for _ in range(2))
        return FallbackStore(first, second, patience=0)


def _primary_of(store: Store) -> Store:
    assert isinstance(store, FallbackStore)
    return store._primary


class Region(MemoryStore):
    """A memory store that does as it is told; counts what it is asked."""

    def __init__(self, fault: Callable[[], Exception] | None = None) -> None:
        super().__init__()
        self.fault = fault
        self.calls: list[str] = []
        self.silent = False
        self.waiting = 0
        self.asked = asyncio.Event()
        self.speaks = asyncio.Event()
        self.closed = 0

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        self.asked.set()
        if self.silent:
            self.waiting += 1
            try:
                await self.speaks.wait()
            finally:
                self.waiting -= 1
        if self.fault:
            raise self.fault()

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        await self._called("get")
        return await super().get(key, limit)

    async def create(self, key: str, data: bytes) -> bool:
        await self._called("create")
        return await super().create(key, data)

    async def replace(self, key: str, data: bytes) -> None:
        await self._called("replace")
        await super().replace(key, data)

    async def delete(self, key: str) -> None:
        await self._called("delete")
        await super().delete(key)

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        await self._called("list")
        async for found in super().list_objects(prefix):
            yield found

    async def close(self) -> None:
        self.closed += 1
        if self.fault:
            raise self.fault()


def _unavailable() -> Exception:
    return StoreUnavailable("the region is down", "Wait for it.", KEY)


def _denied() -> Exception:
    return StoreDenied("the region refuses", "Ask for access.", KEY)


def _misconfigured() -> Exception:
    return ConfigError("there is no such bucket", "Name another.")


async def _region(state: str) -> Region:
    region = Region()
    if state == "has it":
        await MemoryStore.replace(region, KEY, b"payload")
    if state == "has too much":
        await MemoryStore.replace(region, KEY, b"much more than the payload")
    region.fault = {"unavailable": _unavailable, "denied": _denied, "misconfigured": _misconfigured}.get(
        state
    )
    return region


STATES = ("has it", "missing", "unavailable", "denied", "misconfigured", "has too much")
LIMIT = len(b"payload")


def _expected(states: tuple[str, ...]) -> type[CoatcheckError] | None:
    """The decision table, said once more in other words."""
    if "has it" in states:
        return None
    if "unavailable" in states:
        return StoreUnavailable
    refusals = [state for state in states if state != "missing"]
    kinds = {"denied": StoreDenied, "misconfigured": ConfigError, "has too much": LimitExceeded}
    return kinds[refusals[0]] if refusals else PayloadNotFound


@pytest.mark.parametrize("patience", [0, 60])
@pytest.mark.parametrize(
    "states", [*itertools.product(STATES, repeat=2), *itertools.product(STATES, repeat=3)], ids=" | ".join
)
async def test_decision_table(states: tuple[str, ...], patience: float) -> None:
    regions = [await _region(state) for state in states]
    store = FallbackStore(*regions, patience=patience)
    expected = _expected(states)
    # The second time, it is known which stores fail.
    for _ in range(2):
        if expected is None:
            assert await store.get(KEY, LIMIT) == b"payload"
            assert all(region.calls for region in regions[: states.index("has it") + 1])
        else:
            with pytest.raises(CoatcheckError) as raised:
                await store.get(KEY, LIMIT)
            assert type(raised.value) is expected
            assert all(region.calls for region in regions)


async def test_store_with_an_object_that_is_too_large_was_taken_for_one_that_is_down(
    caplog: pytest.LogCaptureFixture,
) -> None:
    regions = [await _region(state) for state in ("has too much", "has it")]
    store = FallbackStore(*regions)
    assert await store.get(KEY, LIMIT) == b"payload"
    assert store._failing == set()
    assert caplog.messages == []


@pytest.mark.parametrize("state", ["missing", "unavailable", "denied", "misconfigured", "has too much"])
async def test_replica_proves_nothing_about_what_the_primary_has(state: str) -> None:
    regions = [await _region(state), await _region("has it")]
    store = FallbackStore(*regions)
    with pytest.raises(_expected((state,)) or AssertionError):
        await store.get_uncached(KEY, LIMIT)
    assert regions[1].calls == []
    if regions[0].fault is None:
        at_primary = [(entry.key, entry.size) for entry in await regions[0].list_first("", 9)]
        assert [(entry.key, entry.size) for entry in await store.list_first("", 9)] == at_primary
        assert (KEY, LIMIT) not in at_primary
    assert "get" not in regions[1].calls


async def test_replicas_are_not_asked_for_what_the_primary_has() -> None:
    regions = [await _region("has it") for _ in range(3)]
    store = FallbackStore(*regions)
    assert await store.get(KEY) == b"payload"
    assert [region.calls for region in regions] == [["get"], [], []]


async def test_replicas_are_asked_in_order_until_one_has_it() -> None:
    regions = [await _region(state) for state in ("denied", "missing", "has it", "has it")]
    assert await FallbackStore(*regions).get(KEY) == b"payload"
    assert [region.calls for region in regions] == [["get"], ["get"], ["get"], []]


@pytest.mark.parametrize("fault", [None, _unavailable, _denied, _misconfigured])
async def test_all_but_reads_goes_to_the_primary_only(fault: Callable[[], Exception] | None) -> None:
    primary, replica = Region(fault), Region()
    await MemoryStore.replace(replica, KEY, b"payload")
    store = FallbackStore(primary, replica)

    async def listing() -> list[str]:
        return [found.key async for found in store.list_objects()]

    operations: list[Callable[[], Any]] = [
        lambda: store.create(KEY, b"new"),
        lambda: store.replace(KEY, b"new"),
        listing,
        lambda: store.delete(KEY),
    ]
    for operation in operations:
        if fault is None:
            await operation()
        else:
            with pytest.raises(type(fault())):
                await operation()
    assert primary.calls == ["create", "replace", "list", "delete"]
    assert replica.calls == []
    assert replica._objects.keys() == {KEY}


async def test_error_says_what_each_store_said_and_for_how_long_to_leave_them_alone() -> None:
    def busy_for(pause: float | None) -> Region:
        return Region(lambda: StoreUnavailable(f"busy for {pause}", "Later.", KEY, pause))

    busy = map(busy_for, (3.0, 30.0, None))
    with pytest.raises(StoreUnavailable) as raised:
        await FallbackStore(await _region("missing"), *busy).get(KEY)
    error = raised.value
    assert error.retry_after == 30.0
    assert error.object_id == KEY
    assert error.todo == "Later."
    assert "primary: there is no such object in the memory store" in error.what
    assert "replica 1: busy for 3.0; replica 2: busy for 30.0; replica 3: busy for None" in error.what
    assert isinstance(error.__cause__, StoreUnavailable)


async def test_object_that_no_store_has_is_named() -> None:
    with pytest.raises(PayloadNotFound, match=r"no store has the object \(primary: .*; replica 1: .*t/s/o"):
        await FallbackStore(Region(), Region()).get(KEY)


async def test_refused_key_reaches_no_store() -> None:
    regions = [Region(), Region()]
    with pytest.raises(ConfigError, match="not an object key"):
        await FallbackStore(*regions).get("../etc/passwd")
    assert [region.calls for region in regions] == [[], []]


async def test_error_that_is_none_of_ours_is_raised_as_it_is() -> None:
    primary, replica = Region(lambda: ZeroDivisionError("a bug")), await _region("has it")
    with pytest.raises(ZeroDivisionError):
        await FallbackStore(primary, replica).get(KEY)
    assert replica.calls == []


class TestSilence:
    async def test_next_store_is_asked_and_the_silent_one_let_go(self) -> None:
        primary, replica = Region(), await _region("has it")
        primary.silent = True
        assert await FallbackStore(primary, replica, patience=0.01).get(KEY) == b"payload"
        assert primary.waiting == 0
        assert len(asyncio.all_tasks()) == 1

    async def test_slow_store_may_still_answer(self) -> None:
        """Otherwise an object that no replica has, and that takes long to read, could never be read."""
        primary, replica = await _region("has it"), Region()
        primary.silent = True
        reading = asyncio.ensure_future(FallbackStore(primary, replica, patience=0.01).get(KEY))
        await replica.asked.wait()
        primary.speaks.set()
        assert await reading == b"payload"
        assert primary.calls == ["get"]

    async def test_failing_store_is_not_waited_for_until_it_answers_again(self) -> None:
        primary, replica = await _region("has it"), await _region("has it")
        store = FallbackStore(primary, replica, patience=0.01)
        primary.silent = True
        await store.get(KEY)
        assert store._failing == {0}
        # Longer than any test may take: would anybody wait for the primary, this would not end.
        store._patience = 3600
        async with asyncio.timeout(60):
            for _ in range(3):
                assert await store.get(KEY) == b"payload"
            replica.silent = True
            primary.speaks.set()
            assert await store.get(KEY) == b"payload"
        assert store._failing == set()

    async def test_every_store_may_be_silent(self) -> None:
        regions = [Region(), Region(), Region()]
        for region in regions:
            region.silent = True
        reading = asyncio.ensure_future(FallbackStore(*regions, patience=0.01).get(KEY))
        await regions[2].asked.wait()
        for region in regions:
            region.speaks.set()
        with pytest.raises(PayloadNotFound):
            await reading


@pytest.mark.parametrize("steps", range(12))
async def test_cancelled_read_leaves_no_task(steps: int) -> None:
    regions = [Region(), Region(), Region()]
    for region in regions:
        region.silent = True
    reading = asyncio.ensure_future(FallbackStore(*regions, patience=0).get(KEY))
    for _ in range(steps):
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert len(asyncio.all_tasks()) == 1
    assert [region.waiting for region in regions] == [0, 0, 0]


async def test_failures_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    primary, replica = await _region("denied"), await _region("has it")
    store = FallbackStore(primary, replica)
    with caplog.at_level(logging.WARNING, "coatcheck"):
        for _ in range(3):
            await store.get(KEY)
        assert caplog.messages == ["reads continue without the primary: the region refuses"]
        store._next_warning -= 60
        await store.get(KEY)
        assert len(caplog.messages) == 2
    assert "payload" not in caplog.text


async def test_missing_objects_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "coatcheck"):
        assert await FallbackStore(Region(), await _region("has it")).get(KEY) == b"payload"
    assert [record for record in caplog.records if record.name == "coatcheck"] == []


async def test_close_closes_all_and_raises_the_first_error() -> None:
    regions = [Region(), Region(_unavailable), Region(_denied), Region()]
    with pytest.raises(StoreUnavailable):
        await FallbackStore(*regions).close()
    assert [region.closed for region in regions] == [1, 1, 1, 1]


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match="needs a replica"):
        FallbackStore(MemoryStore())
    for patience in (-1, float("nan")):
        with pytest.raises(ConfigError, match="patience"):
            FallbackStore(MemoryStore(), MemoryStore(), patience=patience)


def test_repr_names_the_stores() -> None:
    assert (
        repr(FallbackStore(FileStore("a"), FileStore("b"))) == "FallbackStore(FileStore('a'), FileStore('b'))"
    )
