"""The bound of CachedStore in bytes, and which copies go when there is no more room."""

import asyncio
import itertools
import os
import shutil
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread, current_thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coatcheck.errors import PayloadNotFound
from coatcheck.stores._cache import folder as _cache_folder
from coatcheck.stores._cache.folder import CacheFolder
from coatcheck.stores._file import folders as _folders
from coatcheck.stores.cached import CachedStore
from coatcheck.stores.memory import MemoryStore
from tests.stores.cached.parts import CHECKSUM, KEY, Inner, cached, copies, held


class TestBound:
    async def test_least_recently_used_go_first(self, inner: Inner, folder: Path) -> None:
        store = CachedStore(inner, folder, max_bytes=10 * (CHECKSUM + 4))
        for number in range(10):
            await store.create(f"t/{number}", b"data")
        for number in (0, 3):
            await store.get(f"t/{number}")
        # Room is made for the new one, and then up to a tenth of the bound.
        await store.create("t/10", b"data")
        kept = [number for number in range(11) if await cached(store, f"t/{number}") is not None]
        assert kept == [0, 3, 4, 5, 6, 7, 8, 9, 10]

    async def test_larger_than_the_bound_is_not_kept(self, inner: Inner, folder: Path) -> None:
        store = CachedStore(inner, folder, max_bytes=100)
        await store.create("t/small", bytes(10))
        await store.create("t/large", bytes(101 - CHECKSUM))
        assert await cached(store, "t/large") is None
        assert await cached(store, "t/small") is not None
        await store.create("t/exact", bytes(100 - CHECKSUM))
        assert await cached(store, "t/exact") is not None
        assert held(folder) == 100

    async def test_smaller_bound_after_a_restart(
        self, store: CachedStore, inner: Inner, folder: Path
    ) -> None:
        for number in range(10):
            await store.create(f"t/{number}", bytes(84))
        smaller = CachedStore(inner, folder, max_bytes=500)
        assert await smaller.get("t/9") == bytes(84)
        assert held(folder) == smaller.stats.bytes == 400

    async def test_what_killed_writers_left_counts_and_goes(self, inner: Inner, folder: Path) -> None:
        left = folder / "ab" / f"ab{'0' * 30}.{'1' * 16}"
        left.parent.mkdir(parents=True)
        left.write_bytes(bytes(90))
        os.utime(left, (0, 0))
        store = CachedStore(inner, folder, max_bytes=100)
        await store.create(KEY, b"payload")
        assert not left.exists()
        assert held(folder) == store.stats.bytes == len(b"payload") + CHECKSUM

    def test_what_another_thread_was_writing_was_counted_twice(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copies_of = CacheFolder(folder, max_bytes=1000)
        second = Thread(target=lambda: copies_of.keep("t/2", b"payload", lambda: True))
        written = Event()
        write = _folders.write_all

        def write_and_tell(descriptor: int, *parts: bytes) -> None:
            write(descriptor, *parts)
            if current_thread() is second:
                written.set()

        monkeypatch.setattr(_cache_folder, "write_all", write_and_tell)

        def begin_the_second() -> bool:
            second.start()
            return written.wait(30)

        copies_of.keep("t/1", b"payload", begin_the_second)
        second.join()
        assert copies_of.bytes == held(folder) == 2 * (len(b"payload") + CHECKSUM)

    async def test_foreign_files_are_left_alone(self, inner: Inner, folder: Path) -> None:
        foreign = [
            folder / "thesis.txt",
            folder / "ab" / "thesis.txt",
            folder / "ab" / ("0" * 38),
            folder / "documents" / ("0" * 32),
        ]
        for path in foreign:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(1000))
        store = CachedStore(inner, folder, max_bytes=100)
        for number in range(10):
            await store.create(f"t/{number}", bytes(50))
        assert all(path.stat().st_size == 1000 for path in foreign)

    async def test_folder_that_is_emptied_meanwhile(
        self, store: CachedStore, inner: Inner, folder: Path
    ) -> None:
        await store.create("t/1", b"payload")
        shutil.rmtree(folder)
        assert await store.get("t/1") == b"payload"
        assert inner.gets == 1
        assert await cached(store, "t/1") == b"payload"
        assert store.stats.bytes == held(folder)


class Model:
    """What the store has to answer and the folder has to hold; the most recently used copy comes last."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.objects: dict[str, bytes] = {}
        self.copies: OrderedDict[str, int] = OrderedDict()

    def keep(self, key: str) -> None:
        self.copies.pop(key, None)
        size = len(self.objects[key]) + CHECKSUM
        if size > self.max_bytes:
            return
        if sum(self.copies.values()) + size > self.max_bytes:
            while self.copies and sum(self.copies.values()) + size > self.max_bytes - self.max_bytes // 10:
                self.copies.popitem(last=False)
        self.copies[key] = size

    async def create(self, store: CachedStore, key: str, data: bytes) -> None:
        created = await store.create(key, data)
        assert created is (key not in self.objects)
        if created:
            self.objects[key] = data
            self.keep(key)

    async def replace(self, store: CachedStore, key: str, data: bytes) -> None:
        await store.replace(key, data)
        self.objects[key] = data
        self.keep(key)

    async def get(self, store: CachedStore, key: str, _data: bytes) -> None:
        hits = store.stats.hits
        if key not in self.objects:
            with pytest.raises(PayloadNotFound):
                await store.get(key)
            return
        assert await store.get(key) == self.objects[key]
        assert store.stats.hits - hits == (key in self.copies)
        if key in self.copies:
            self.copies.move_to_end(key)
        else:
            self.keep(key)

    async def delete(self, store: CachedStore, key: str, _data: bytes) -> None:
        await store.delete(key)
        self.objects.pop(key, None)
        self.copies.pop(key, None)

    async def forget(self, store: CachedStore, key: str, _data: bytes) -> None:
        await store.forget(key)
        self.copies.pop(key, None)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["create", "create", "get", "get", "get", "replace", "delete", "forget", "restart"]),
        st.integers(0, 11).map("t/{}".format),
        st.integers(0, 120).map(lambda size: bytes([size]) * size),
    ),
    max_size=60,
)


@pytest.fixture(scope="module")
def ticks() -> Iterator[None]:
    """A clock that never stands still nor goes back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cache_folder, "_now", itertools.count(1_000_000_000_000).__next__)
        yield


@pytest.mark.usefixtures("ticks")
@given(operations=OPERATIONS, max_bytes=st.integers(1, 600))
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_bound_and_order_hold_for_any_workload(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, str, bytes]], max_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("model")
    inner = MemoryStore()
    model = Model(max_bytes)

    async def run() -> None:
        store = CachedStore(inner, folder, max_bytes=max_bytes)
        for name, key, data in operations:
            if name == "restart":
                store = CachedStore(inner, folder, max_bytes=max_bytes)
            else:
                await getattr(model, name)(store, key, data)
            assert {path.name for path in copies(folder)} == {name_of(store, key) for key in model.copies}
            assert held(folder) == sum(model.copies.values()) <= max_bytes
        await store.replace("t/last", b"")
        assert store.stats.bytes == held(folder)

    asyncio.run(run())
    shutil.rmtree(folder)


def name_of(store: CachedStore, key: str) -> str:
    return store._copies._path(key).name
