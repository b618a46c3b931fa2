"""Listings of a store."""

from collections import Counter
from datetime import timedelta

from coatcheck.contracts.store import Store
from coatcheck.testing._store.base import AT_ONCE, StoreSuiteBase, create_all, keys_of, listed

_FOREIGN_PREFIXES = ["/", "../", "a/../", "a//", ".", "a\\", "%2e", "*", "\x00", "ä"]


class ListingTests(StoreSuiteBase):
    """Listings by prefix, of many objects, and during writes."""

    async def test_listing_by_prefix(self, store: Store) -> None:
        keys = ["a/b/1", "a/b/2", "a/bc/1", "a/c", "ab/b", "b"]
        for size, key in enumerate(keys):
            await store.create(key, bytes(size))
        for prefix in [
            "",
            *keys,
            "a",
            "a/",
            "a/b",
            "a/b/",
            "a/bc",
            "a/b/1",
            "ab",
            "ab/",
            "c",
            "b/",
            "a/b/1/",
        ]:
            found_there = await listed(store, prefix)
            assert sorted(found.key for found in found_there) == [
                key for key in keys if key.startswith(prefix)
            ]
            for found in found_there:
                assert found.size == keys.index(found.key)

    async def test_listing_by_foreign_prefix(self, store: Store) -> None:
        await store.create("a/b", b"1")
        for prefix in _FOREIGN_PREFIXES:
            assert await keys_of(store, prefix) == []

    async def test_listing_tells_when(self, store: Store) -> None:
        await store.create("first", b"1")
        await store.create("second", b"2")
        found_there = {found.key: found for found in await listed(store)}
        assert found_there["first"].modified.tzinfo is not None
        # Some stores count whole seconds.
        assert found_there["second"].modified - found_there["first"].modified >= timedelta(0)
        assert found_there["second"].modified - found_there["first"].modified < timedelta(minutes=1)

    async def test_listing_many(self, store: Store) -> None:
        keys = [f"t/{number % 7}/{number:05}" for number in range(self.many)]
        await create_all(store, keys, b"1")
        assert await keys_of(store) == sorted(keys)
        assert await keys_of(store, "t/3/") == sorted(key for key in keys if key.startswith("t/3/"))

    async def test_listing_is_in_order_within_a_folder(self, store: Store) -> None:
        names = ["-mark", "0", "00f", "9", "a", "ab", "abc", "b_", "f" * 64, "step-1", "z"]
        await create_all(store, [f"t/{run}/{name}" for run in "xy" for name in reversed(names)], b"1")
        for run in "xy":
            assert [found.key for found in await listed(store, f"t/{run}/")] == [
                f"t/{run}/{name}" for name in names
            ]
        in_all = [found.key for found in await listed(store, "t/")]
        for run in "xy":
            assert [key for key in in_all if key[2] == run] == [f"t/{run}/{name}" for name in names]

    async def test_first_by_key(self, store: Store) -> None:
        keys = ["a-/b", "a-c", "a.d/e", "a/b", "a/b-1/c", "a/b.2", "a/c/d", "ab/c", "b=/c", "b_/c", "B/c"]
        for size, key in enumerate(keys):
            await store.create(key, bytes(size))
        for prefix in ["", "a", "a/", "a/b", "a-", "b", "c", "a/c/d", "a/c/d/"]:
            expected = sorted(key for key in keys if key.startswith(prefix))
            for count in (0, 1, 2, 5, len(keys), 10_000):
                first = await store.list_first(prefix, count)
                assert [found.key for found in first] == expected[:count], (prefix, count)
                assert [found.size for found in first] == [keys.index(found.key) for found in first]

    async def test_first_by_key_of_many(self, store: Store) -> None:
        keys = [f"t/{number:05}" for number in range(self.many)]
        await create_all(store, keys[::-1], b"1")
        for count in (1, self.many - 50, self.many, self.many + 50):
            assert [found.key for found in await store.list_first("t/", count)] == keys[:count]

    async def test_first_by_foreign_prefix(self, store: Store) -> None:
        await store.create("a/b", b"1")
        for prefix in _FOREIGN_PREFIXES:
            assert await store.list_first(prefix, 10) == []

    async def test_listing_while_others_write(self, store: Store) -> None:
        keys = [f"t/{number:05}" for number in range(self.many)]
        await create_all(store, keys, b"1")
        leaving = keys[:: self.many // 20]
        seen: Counter[str] = Counter()
        async for found in store.list_objects("t/"):
            seen[found.key] += 1
            if leaving:
                await store.delete(leaving.pop())
                await store.create(f"t/new-{len(leaving)}", b"1")
        staying = set(keys) - set(keys[:: self.many // 20])
        assert staying <= seen.keys()
        assert set(seen.values()) == {1}

    async def test_abandoned_listing(self, store: Store) -> None:
        await create_all(store, [f"t/{number}" for number in range(AT_ONCE)], b"1")
        listing = store.list_objects()
        await anext(listing)
        del listing
        assert len(await keys_of(store)) == AT_ONCE
