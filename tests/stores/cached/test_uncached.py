"""A copy may be older than its object: what proves something comes from the inner store, and leaves no older copy."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.errors import CoatcheckError, LimitExceeded, PayloadNotFound, StoreUnavailable
from coatcheck.stores.cached import CachedStore
from coatcheck.stores.fallback import FallbackStore
from coatcheck.stores.memory import MemoryStore
from tests.stores.cached.parts import CHECKSUM, KEY, Inner, cached, copies, held


@pytest.fixture
async def stale(store: CachedStore, inner: Inner) -> CachedStore:
    """A store with a copy of what another machine has replaced since."""
    await store.create(KEY, b"old")
    await MemoryStore.replace(inner, KEY, b"new")
    assert await store.get(KEY) == b"old"
    return store


async def test_original_takes_the_place_of_the_copy(stale: CachedStore, folder: Path) -> None:
    assert await stale.get_uncached(KEY) == b"new"
    assert await stale.get(KEY) == b"new"
    assert stale.stats.bytes == held(folder) == CHECKSUM + len(b"new")


async def test_copy_of_what_is_not_there_any_more_goes(
    stale: CachedStore, inner: Inner, folder: Path
) -> None:
    await MemoryStore.delete(inner, KEY)
    assert await stale.get(KEY) == b"old"
    with pytest.raises(PayloadNotFound):
        await stale.get_uncached(KEY)
    assert copies(folder) == []
    with pytest.raises(PayloadNotFound):
        await stale.get(KEY)


async def test_copy_of_what_is_too_large_now_goes(stale: CachedStore, inner: Inner, folder: Path) -> None:
    await MemoryStore.replace(inner, KEY, bytes(100))
    with pytest.raises(LimitExceeded):
        await stale.get_uncached(KEY, 99)
    assert copies(folder) == []


async def test_copy_was_dropped_though_the_original_could_not_be_had(
    stale: CachedStore, inner: Inner
) -> None:
    inner.down = True
    with pytest.raises(StoreUnavailable):
        await stale.get_uncached(KEY)
    assert await stale.get(KEY) == b"old"


@pytest.mark.parametrize(
    "change", [lambda store: store.replace(KEY, b"newer"), lambda store: store.delete(KEY)]
)
async def test_change_that_overtakes_the_original_leaves_no_copy_of_it(
    stale: CachedStore, inner: Inner, change: Callable[[CachedStore], Awaitable[None]]
) -> None:
    inner.waits = True
    asking = asyncio.ensure_future(stale.get_uncached(KEY))
    await inner.asked.wait()
    inner.waits = False
    await change(stale)
    inner.goes_on.set()
    assert await asking == b"new"
    assert await cached(stale) in {None, b"newer"}


class _Replicated(MemoryStore):
    """Gives what a replica has, which is older; the original where that is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        self.asked.set()
        await self.goes_on.wait()
        return b"of the replica"

    async def get_uncached(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        return await super().get(key, limit)


@pytest.mark.parametrize("original_first", [True, False])
async def test_reader_of_a_replica_puts_no_older_copy_over_the_original(
    tmp_path: Path, *, original_first: bool
) -> None:
    inner = _Replicated()
    await inner.replace(KEY, b"original")
    store = CachedStore(inner, tmp_path / "cache")
    reading = asyncio.ensure_future(store.get(KEY))
    await inner.asked.wait()
    if original_first:
        assert await store.get_uncached(KEY) == b"original"
        inner.goes_on.set()
        assert await reading == b"of the replica"
    else:
        inner.goes_on.set()
        await asyncio.gather(reading, store.get_uncached(KEY))
    assert await cached(store) in {None, b"original"}


async def test_replica_that_missed_a_delete_proves_nothing_through_a_cache(tmp_path: Path) -> None:
    primary, replica = MemoryStore(), MemoryStore()
    await replica.replace(KEY, b"deleted long ago")
    store = CachedStore(FallbackStore(primary, replica), tmp_path / "cache")
    assert await store.get(KEY) == b"deleted long ago"
    with pytest.raises(PayloadNotFound):
        await store.get_uncached(KEY)
    assert await store.list_first("", 10) == [entry async for entry in store.list_objects()] == []
    assert await cached(store) is None


async def test_listing_was_answered_from_copies(stale: CachedStore, inner: Inner) -> None:
    assert [(entry.key, entry.size) for entry in await stale.list_first("", 2)] == [(KEY, len(b"new"))]
    await MemoryStore.delete(inner, KEY)
    assert await stale.list_first("", 2) == []


async def test_originals_asked_for_at_once_are_the_original(stale: CachedStore) -> None:
    assert await asyncio.gather(*(stale.get_uncached(KEY) for _ in range(20))) == [b"new"] * 20
    assert await cached(stale) in {None, b"new"}


async def test_copy_above_the_limit_was_read_whole(store: CachedStore, inner: Inner) -> None:
    await store.create(KEY, bytes(1000))
    store._copies._path(KEY).write_bytes(bytes(2 << 20))
    with pytest.raises(LimitExceeded):
        await store.get(KEY, 999)
    assert inner.gets == 1
    assert await store.get(KEY, 1000) == bytes(1000)
    with store._copies._path(KEY).open("ab") as copy:
        copy.truncate(2 << 30)  # Of holes: it takes no room.
    async with asyncio.timeout(60):
        assert await store.get(KEY, 1000) == bytes(1000)
    assert inner.gets == 3


async def test_copies_kept_in_disorder_are_never_older_than_the_last_original(
    store: CachedStore, inner: Inner
) -> None:
    """Many calls at once, in every order that 200 rounds bring about."""

    async def asked(call: Awaitable[object]) -> None:
        with suppress(CoatcheckError):
            await call

    for number in range(200):
        body = b"%d" % number
        await MemoryStore.replace(inner, KEY, body)
        await asyncio.gather(
            asked(store.get(KEY)), asked(store.get_uncached(KEY)), asked(store.get_uncached(KEY))
        )
        assert await store.get_uncached(KEY) == body
        assert await cached(store) == body
