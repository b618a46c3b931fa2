"""CachedStore: copies are right or not there, and bounded; a bad disk is no reason to fail."""

import asyncio
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coatcheck import Chain, Encrypt, Key, Keyring, Offload, PayloadCache, Scope
from coatcheck.contracts.store import DEFAULT_LIMIT, Store
from coatcheck.errors import ConfigError, PayloadNotFound, StoreUnavailable
from coatcheck.stores._cache.overlaps import Overlaps
from coatcheck.stores.cached import CachedStore, CachedStoreStats
from coatcheck.stores.file import FileStore
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import StoreSuite
from tests.stores.cached.parts import CHECKSUM, KEY, Inner, cached, copies, held


class TestCachedMemoryStore(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> CachedStore:
        return CachedStore(MemoryStore(), tmp_path / "cache")

    async def raw_get(self, store: Store, key: str) -> bytes | None:
        try:
            return await _inner_of(store).get(key)
        except PayloadNotFound:
            return None

    async def raw_set(self, store: Store, key: str, data: bytes) -> None:
        await _inner_of(store).replace(key, data)


class TestCachedFileStore(TestCachedMemoryStore):
    @pytest.fixture
    def store(self, tmp_path: Path) -> CachedStore:
        return CachedStore(FileStore(tmp_path / "payloads"), tmp_path / "cache")


class TestSmallCache(TestCachedMemoryStore):
    """Room is made all the time."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> CachedStore:
        return CachedStore(FileStore(tmp_path / "payloads"), tmp_path / "cache", max_bytes=12_000)


class TestWithoutDisk(TestCachedMemoryStore):
    @pytest.fixture
    def store(self, tmp_path: Path) -> CachedStore:
        (tmp_path / "cache").write_bytes(b"not a folder")
        return CachedStore(MemoryStore(), tmp_path / "cache")


def _inner_of(store: Store) -> Store:
    assert isinstance(store, CachedStore)
    return store._store


class TestWhatIsKept:
    async def test_a_read_goes_to_the_inner_store_once(self, store: CachedStore, inner: Inner) -> None:
        await MemoryStore.replace(inner, KEY, b"payload")
        assert [await store.get(KEY) for _ in range(3)] == [b"payload"] * 3
        assert inner.gets == 1
        assert store.stats == CachedStoreStats(hits=2, misses=1, bytes=len(b"payload") + CHECKSUM)

    async def test_what_was_written_needs_no_read(self, store: CachedStore, inner: Inner) -> None:
        await store.create("a", b"created")
        await store.replace("b", b"replaced")
        inner.down = True
        assert await store.get("a") == b"created"
        assert await store.get("b") == b"replaced"

    async def test_a_create_that_lost_keeps_nothing(self, store: CachedStore, inner: Inner) -> None:
        await MemoryStore.replace(inner, KEY, b"theirs")
        assert await store.create(KEY, b"ours") is False
        assert await cached(store) is None

    @pytest.mark.parametrize("operation", ["create", "replace"])
    async def test_a_write_that_failed_keeps_nothing(
        self, store: CachedStore, inner: Inner, operation: str
    ) -> None:
        inner.down = True
        with pytest.raises(StoreUnavailable):
            await getattr(store, operation)(KEY, b"payload")
        assert await cached(store) is None

    @pytest.mark.parametrize(
        "operation", [lambda store: store.replace(KEY, b"new"), lambda store: store.delete(KEY)]
    )
    async def test_a_change_whose_outcome_is_unknown_leaves_no_copy(
        self, store: CachedStore, inner: Inner, operation: Callable[[Store], "asyncio.Future[None]"]
    ) -> None:
        await store.create(KEY, b"old")
        inner.down = True
        with pytest.raises(StoreUnavailable):
            await operation(store)
        assert await cached(store) is None

    async def test_a_delete_removes_both(self, store: CachedStore, inner: Inner, folder: Path) -> None:
        await store.create(KEY, b"payload")
        await store.delete(KEY)
        assert copies(folder) == []
        assert inner._objects == {}
        assert store.stats.bytes == 0

    async def test_a_create_that_cannot_be_kept_leaves_no_earlier_copy(
        self, inner: Inner, folder: Path
    ) -> None:
        store = CachedStore(inner, folder, max_bytes=100)
        await store.create(KEY, b"earlier")
        await MemoryStore.delete(inner, KEY)
        assert await store.create(KEY, bytes(1000)) is True
        assert await store.get(KEY) == bytes(1000)

    async def test_what_is_missing_is_asked_for_again(self, store: CachedStore, inner: Inner) -> None:
        for _ in range(2):
            with pytest.raises(PayloadNotFound):
                await store.get(KEY)
        assert inner.gets == 2

    async def test_forget_asks_the_inner_store_again(self, store: CachedStore, inner: Inner) -> None:
        await MemoryStore.replace(inner, KEY, b"damaged on its way")
        await store.get(KEY)
        await MemoryStore.replace(inner, KEY, b"payload")
        assert await store.get(KEY) == b"damaged on its way"
        await store.forget(KEY)
        await store.forget("never/seen")
        assert await store.get(KEY) == b"payload"
        with pytest.raises(ConfigError):
            await store.forget("../x")

    async def test_a_restart_keeps_the_copies(self, store: CachedStore, inner: Inner, folder: Path) -> None:
        await store.create(KEY, b"payload")
        again = CachedStore(inner, folder)
        assert await again.get(KEY) == b"payload"
        assert inner.gets == 0
        assert again.stats == CachedStoreStats(hits=1, misses=0, bytes=len(b"payload") + CHECKSUM)

    async def test_only_its_owner_can_read_it(self, store: CachedStore, folder: Path) -> None:
        old = os.umask(0)
        try:
            await store.create(KEY, b"payload")
        finally:
            os.umask(old)
        for path in [folder, *folder.rglob("*")]:
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path

    async def test_copies_are_what_the_inner_store_holds_and_names_say_nothing(
        self, store: CachedStore, inner: Inner, folder: Path
    ) -> None:
        canary = b"coatcheck-canary-" * 200
        chain = Chain(Encrypt(Keyring(Key.generate())), Offload(store, over=0))
        ticket = await chain.encode(canary, Scope("canary-tenant", "canary-run"))
        assert await chain.decode(ticket, Scope("canary-tenant", "canary-run")) == canary
        (copy,) = copies(folder)
        ((sealed, _),) = inner._objects.values()
        assert copy.read_bytes()[CHECKSUM:] == sealed
        for path in folder.rglob("*"):
            assert b"canary" not in bytes(path)
            assert path.is_dir() or b"canary" not in path.read_bytes()


class TestOverlappingCalls:
    """A copy is made only if no change of the object overlapped the call that it comes from."""

    @pytest.mark.parametrize("change", ["delete", "replace"])
    async def test_read_that_a_change_overtakes(self, store: CachedStore, inner: Inner, change: str) -> None:
        await MemoryStore.replace(inner, KEY, b"old")
        inner.waits = True
        reading = asyncio.ensure_future(store.get(KEY))
        await inner.asked.wait()
        inner.waits = False
        await (store.delete(KEY) if change == "delete" else store.replace(KEY, b"new"))
        inner.goes_on.set()
        assert await reading == b"old"
        assert await cached(store) != b"old"

    async def test_read_during_a_delete(self, store: CachedStore, inner: Inner) -> None:
        await MemoryStore.replace(inner, KEY, b"old")
        inner.waits = True
        deleting = asyncio.ensure_future(store.delete(KEY))
        await inner.asked.wait()
        inner.waits = False
        await MemoryStore.replace(inner, KEY, b"as read before the delete took effect")
        await store.get(KEY)
        assert await cached(store) is None
        inner.goes_on.set()
        await deleting

    async def test_two_replaces_at_once(self, store: CachedStore, inner: Inner) -> None:
        """Whichever is acknowledged last need not be the one that took effect last."""
        inner.waits = True
        replacing = [asyncio.ensure_future(store.replace(KEY, data)) for data in (b"one", b"two")]
        await inner.asked.wait()
        inner.goes_on.set()
        await asyncio.gather(*replacing)
        assert await cached(store) is None

    async def test_create_that_a_delete_overtakes(self, store: CachedStore, inner: Inner) -> None:
        inner.waits = True
        creating = asyncio.ensure_future(store.create(KEY, b"payload"))
        await inner.asked.wait()
        inner.waits = False
        await store.delete(KEY)
        inner.goes_on.set()
        assert await creating is True
        assert await cached(store) is None

    async def test_reads_that_make_the_same_copy_count_it_once(
        self, store: CachedStore, inner: Inner, folder: Path
    ) -> None:
        await MemoryStore.replace(inner, KEY, b"payload")
        inner.waits = True
        reading = [asyncio.ensure_future(store.get(KEY)) for _ in range(5)]
        while inner.gets < 5:
            await inner.asked.wait()
            inner.asked.clear()
        inner.goes_on.set()
        assert await asyncio.gather(*reading) == [b"payload"] * 5
        counted = int.from_bytes((folder / "bytes").read_bytes(), "big")
        assert counted == store.stats.bytes == held(folder) == len(b"payload") + CHECKSUM

    async def test_other_keys_do_not_disturb(self, store: CachedStore, inner: Inner) -> None:
        inner.waits = True
        creating = asyncio.ensure_future(store.create(KEY, b"payload"))
        await inner.asked.wait()
        inner.waits = False
        await store.delete("t/s/other")
        inner.goes_on.set()
        await creating
        assert await cached(store) == b"payload"

    def test_call_that_is_over_makes_no_copy(self) -> None:
        """A thread may still be at work for it after it was cancelled."""
        overlaps = Overlaps()
        with overlaps.watch(KEY, changes=False) as call:
            assert call.undisturbed
        assert not call.undisturbed

    async def test_nothing_is_remembered_of_calls_that_are_over(self, store: CachedStore) -> None:
        await store.create(KEY, b"payload")
        await store.delete(KEY)
        with pytest.raises(PayloadNotFound):
            await store.get(KEY)
        assert store._overlaps._under_way == {}


class TestDamage:
    @pytest.fixture
    async def copy(self, store: CachedStore, folder: Path) -> Path:
        await store.create(KEY, b"sealed bytes")
        (copy,) = copies(folder)
        return copy

    async def _check_refetched(self, store: CachedStore, inner: Inner, copy: Path, damaged: bytes) -> None:
        before = inner.gets
        copy.write_bytes(damaged)
        assert await store.get(KEY) == b"sealed bytes"
        assert inner.gets == before + 1
        assert await store.get(KEY) == b"sealed bytes"
        assert inner.gets == before + 1

    async def test_every_flipped_bit_is_found(self, store: CachedStore, inner: Inner, copy: Path) -> None:
        whole = copy.read_bytes()
        for position in range(len(whole) * 8):
            damaged = bytearray(whole)
            damaged[position // 8] ^= 1 << position % 8
            await self._check_refetched(store, inner, copy, bytes(damaged))

    async def test_every_truncation_is_found(self, store: CachedStore, inner: Inner, copy: Path) -> None:
        whole = copy.read_bytes()
        for length in range(len(whole)):
            await self._check_refetched(store, inner, copy, whole[:length])

    async def test_trailing_bytes_are_found(self, store: CachedStore, inner: Inner, copy: Path) -> None:
        for more in (b"\0", b"more"):
            await self._check_refetched(store, inner, copy, copy.read_bytes() + more)

    async def test_copy_of_another_object_is_found(
        self, store: CachedStore, inner: Inner, copy: Path
    ) -> None:
        before = set(copies(store.folder))
        await store.create("t/s/other", b"other bytes")
        (other,) = set(copies(store.folder)) - before
        await self._check_refetched(store, inner, copy, other.read_bytes())

    @pytest.mark.parametrize("size_file", [b"", b"\0", bytes(8), b"\xff" * 8, b"\xff" * 20])
    async def test_damaged_count_is_put_right_by_a_restart(
        self, inner: Inner, copy: Path, folder: Path, size_file: bytes
    ) -> None:
        (folder / "bytes").write_bytes(size_file)
        store = CachedStore(inner, folder, max_bytes=100)
        for number in range(10):
            await store.create(f"t/{number}", bytes(20))
            assert held(folder) == store.stats.bytes <= 100


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert CachedStore(MemoryStore()).folder == tmp_path / "coatcheck" / "objects"
    assert CachedStore(MemoryStore()).folder.name == "objects"


def test_making_a_store_touches_nothing(folder: Path, store: CachedStore) -> None:
    assert not folder.exists()
    assert store.stats == CachedStoreStats(0, 0, 0)
    assert repr(store).startswith("CachedStore(<")


def test_bad_bound() -> None:
    for most in (0, -1):
        with pytest.raises(ConfigError, match="must be positive"):
            CachedStore(MemoryStore(), max_bytes=most)


async def test_bytes_that_were_damaged_on_their_way_into_the_cache_are_fetched_again(tmp_path: Path) -> None:
    class DamagedOnce(MemoryStore):
        damaged = True

        async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
            data = await super().get(key, limit)
            if self.damaged:
                self.damaged = False
                return data[:-1] + bytes([data[-1] ^ 1])
            return data

    store = DamagedOnce()
    payload = bytes(range(256)) * 40
    journal = await Chain(Offload(store, over=0)).encode(payload, Scope("t"))
    cold = Chain(Offload(CachedStore(store, tmp_path), over=0), cache=PayloadCache(0))
    assert await cold.open(journal, Scope("t")) == payload
    assert await cold.open(journal, Scope("t")) == payload
