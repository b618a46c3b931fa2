"""Operations on one object."""

import random
import tracemalloc

import pytest

from coatcheck.contracts.store import MAX_KEY_LENGTH, Store
from coatcheck.errors import ConfigError, LimitExceeded, PayloadNotFound
from coatcheck.testing._store.base import StoreSuiteBase, keys_of, listed

_LONG_SEGMENT = 99
_ODD_KEYS = [
    "a",
    "_",
    "-rf",
    "=",
    "a=b",
    "a.b..c",
    "a.",
    "0/1/2/3/4/5/6/7/8/9",
    "same/same/same",
    "tmp/lock",
    "/".join(["k" * _LONG_SEGMENT] * 6)[:MAX_KEY_LENGTH],
]
_REFUSED_KEYS = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    ".hidden",
    "a/.hidden",
    "a\\b",
    "a b",
    "a\n",
    "a\x00b",
    "a?b",
    "a#b",
    "a%2Fb",
    "%2e%2e/a",
    "ä",
    "file:a",
    "a" * (MAX_KEY_LENGTH + 1),
]


class ObjectTests(StoreSuiteBase):
    """Create, replace, get and delete, with valid and invalid keys."""

    async def test_create_writes_once(self, store: Store) -> None:
        assert await store.create("t/s/o", b"first") is True
        assert await store.create("t/s/o", b"second") is False
        assert await store.get("t/s/o") == b"first"
        assert await self.raw_get(store, "t/s/o") == b"first"

    async def test_create_respects_what_others_wrote(self, store: Store) -> None:
        await self.raw_set(store, "t/s/o", b"theirs")
        assert await store.create("t/s/o", b"ours") is False
        assert await store.get("t/s/o") == b"theirs"
        assert await keys_of(store) == ["t/s/o"]

    async def test_replace_writes_and_overwrites(self, store: Store) -> None:
        await store.replace("t/s/o", b"longer than the next")
        await store.replace("t/s/o", b"next")
        assert await store.get("t/s/o") == b"next"
        assert await self.raw_get(store, "t/s/o") == b"next"
        assert await store.create("t/s/o", b"late") is False

    async def test_get_returns_bytes(self, store: Store) -> None:
        data = bytes(range(256))
        await store.create("t/s/o", data)
        got = await store.get("t/s/o")
        assert type(got) is bytes
        assert got == data

    async def test_missing_object_is_named(self, store: Store) -> None:
        for key in ("t/s/missing", "missing"):
            with pytest.raises(PayloadNotFound, match=key):
                await store.get(key)
        await store.create("t/s/there", b"1")
        with pytest.raises(PayloadNotFound):
            await store.get("t/s")
        with pytest.raises(PayloadNotFound):
            await store.get("t/s/there/below")

    async def test_delete_is_idempotent(self, store: Store) -> None:
        await store.delete("t/s/never")
        await store.create("t/s/o", b"1")
        await store.create("t/s/other", b"2")
        await store.delete("t/s/o")
        await store.delete("t/s/o")
        with pytest.raises(PayloadNotFound):
            await store.get("t/s/o")
        assert await self.raw_get(store, "t/s/o") is None
        assert await keys_of(store) == ["t/s/other"]
        assert await store.create("t/s/o", b"again") is True
        assert await store.get("t/s/o") == b"again"

    async def test_empty_object(self, store: Store) -> None:
        assert await store.create("t/s/empty", b"") is True
        assert await store.create("t/s/empty", b"1") is False
        assert await store.get("t/s/empty") == b""
        assert [found.size for found in await listed(store)] == [0]

    async def test_large_object(self, store: Store) -> None:
        data = random.Random(1).randbytes(self.large)  # noqa: S311 - repeatable, not secret
        assert await store.create("t/s/large", data) is True
        assert await store.get("t/s/large") == data
        assert await self.raw_get(store, "t/s/large") == data
        await store.replace("t/s/large", data[::-1])
        assert await store.get("t/s/large") == data[::-1]
        assert [found.size for found in await listed(store)] == [self.large]

    async def test_limit_of_a_read(self, store: Store) -> None:
        await store.create("t/s/o", b"x" * 1_000)
        await store.create("t/s/empty", b"")
        for get in (store.get, store.get_uncached):
            assert await get("t/s/o", 1_000) == b"x" * 1_000
            assert await get("t/s/empty", 0) == b""
            for limit in (0, 1, 999):
                with pytest.raises(LimitExceeded, match="t/s/o"):
                    await get("t/s/o", limit)
            with pytest.raises(PayloadNotFound):
                await get("t/s/missing", 0)

    async def test_large_object_is_not_read_beyond_the_limit(self, store: Store) -> None:
        await store.create("t/s/large", bytes(self.large))
        limit = self.large // 16
        tracemalloc.start()
        try:
            for get in (store.get, store.get_uncached):
                with pytest.raises(LimitExceeded):
                    await get("t/s/large", limit)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < self.large // 2
        assert len(await store.get("t/s/large", self.large)) == self.large

    async def test_uncached_read_is_of_what_is_there(self, store: Store) -> None:
        await store.create("t/s/o", b"first")
        assert await store.get("t/s/o") == await store.get_uncached("t/s/o") == b"first"
        await self.raw_set(store, "t/s/o", b"theirs")
        assert await store.get_uncached("t/s/o") == b"theirs"
        await store.delete("t/s/o")
        with pytest.raises(PayloadNotFound):
            await store.get_uncached("t/s/o")

    @pytest.mark.parametrize("key", _ODD_KEYS)
    async def test_odd_key(self, store: Store, key: str) -> None:
        assert await store.create(key, b"1") is True
        assert await self.raw_get(store, key) == b"1"
        await store.replace(key, b"22")
        assert await store.get(key) == b"22"
        assert [(found.key, found.size) for found in await listed(store, key)] == [(key, 2)]
        await store.delete(key)
        assert await keys_of(store) == []

    async def test_keys_that_begin_alike(self, store: Store) -> None:
        keys = ["a-", "a/a-", "a/a/a", "a/ab", "ab", "ab-"] + (["a", "a/a"] if self.nested_keys else [])
        for key in keys:
            assert await store.create(key, key.encode()) is True
        assert [await store.get(key) for key in keys] == [key.encode() for key in keys]
        assert await keys_of(store) == sorted(keys)
        await store.delete(keys.pop())
        assert await keys_of(store) == sorted(keys)

    @pytest.mark.parametrize("key", _REFUSED_KEYS)
    async def test_refused_key(self, store: Store, key: str) -> None:
        for operation in (
            lambda: store.create(key, b"1"),
            lambda: store.replace(key, b"1"),
            lambda: store.get(key),
            lambda: store.delete(key),
        ):
            with pytest.raises(ConfigError):
                await operation()
        assert await keys_of(store) == []
