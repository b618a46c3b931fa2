"""Somebody who can write to the store, and has no key, cannot have a sweep delete anything, nor keep it or writers from working."""

import random
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from coatcheck import Chain, MemoryStore, Offload, PayloadCache, Store, StoredObject, StoreUnavailable, Zstd
from coatcheck.errors import StoreDenied
from coatcheck.retention.rules import Action, RetentionRules
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.sweep_marks import (
    LAST_LEASE,
    SWEEP_ALIVE,
    SWEEP_DELETING,
    SWEEP_LEASE,
    SWEEP_MARK,
    SweepMark,
    deleting,
    lease,
    seal_mark,
)
from tests.retention.aged_store import AgedStore
from tests.retention.sweeping import (
    GRACE,
    LONG,
    Live,
    chain_on,
    claimed,
    keys_of,
    marked,
    scope_of,
    sealer_of,
    sweep_of,
    swept_twice,
)

ID = bytes(range(16))
PLANTED = [SWEEP_MARK, SWEEP_ALIVE, lease(ID, 0), lease(ID, 7), deleting(ID, 0), "condemned-0", "deleting-0"]


def payload(run: str, turn: int = 0) -> bytes:
    source = random.Random(run)
    return b"".join(source.randbytes(900) for _ in range(turn + 1))


async def kept(store: Store, run: str) -> tuple[str, list[bytes]]:
    """The prefix of a scope with three payloads, and what a journal has of them."""
    chain = chain_on(store)
    encoded = await all_at_once(
        chain.encode(payload, scope_of(run)) for payload in [payload(run, turn) for turn in range(3)]
    )
    (prefix,) = await ScopePrefixes(chain_on(store).sealings).of(scope_of(run))
    return prefix, encoded


async def opens(store: Store, run: str, encoded: list[bytes]) -> bool:
    chain = chain_on(store)
    opened = await all_at_once(chain.decode(payload, scope_of(run)) for payload in encoded)
    return opened == [payload(run, turn) for turn in range(3)]


async def objects(store: Store, prefix: str) -> set[str]:
    return {key for key in await keys_of(store, [prefix]) if len(key.rpartition("/")[2]) == 64}


@pytest.mark.parametrize("content", [b"", b"\xc0\xa7\xc4\xec" + bytes(200)], ids=["empty", "some"])
async def test_planted_marks_deleted_a_live_scope(content: bytes) -> None:
    store = AgedStore(MemoryStore())
    prefix, encoded = await kept(store, "live")
    for name in PLANTED:
        await store.replace(prefix + name, content)
    for _ in range(3):
        await store.age(LONG)
        report = await sweep_of(store, Live("live")).run()
        assert (report.of(Action.LIVE).scopes, report.deleted) == (1, 0)
        assert report.forged == 4
    assert await opens(store, "live", encoded)


async def test_planted_marks_kept_a_dead_scope_or_hastened_its_end() -> None:
    store = AgedStore(MemoryStore())
    prefix, _ = await kept(store, "dead")
    for name in PLANTED:
        await store.replace(prefix + name, b"")
    await store.age(LONG)
    assert (await sweep_of(store, Live()).run()).of(Action.MARK).scopes == 1
    assert len(await objects(store, prefix)) == 3
    await store.age(LONG)
    report = await sweep_of(store, Live()).run()
    assert report.of(Action.DELETE).scopes == 1
    assert await keys_of(store, [prefix]) == []


async def test_a_planted_mark_and_claim_kept_writers_off() -> None:
    store = AgedStore(MemoryStore())
    prefix, encoded = await kept(store, "run")
    for name in PLANTED:
        await store.replace(prefix + name, b"")
    chain = chain_on(store)
    again = await all_at_once(
        chain.encode(payload, scope_of("run")) for payload in [payload("run", turn) for turn in range(3)]
    )
    assert again == encoded


class Unlisted(AgedStore):
    """As for credentials that may not list the scopes."""

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        if not prefix.startswith("sweep/"):
            raise StoreDenied("no right to list")
        async for entry in super().list_objects(prefix):
            yield entry


async def test_a_writer_that_may_not_list_sees_a_sweep_and_no_planted_marks() -> None:
    store = Unlisted(MemoryStore())
    prefix, encoded = await kept(store, "run")

    async def again() -> list[bytes]:
        chain = chain_on(store)
        return await all_at_once(
            chain.encode(payload, scope_of("run")) for payload in [payload("run", turn) for turn in range(3)]
        )

    for name in PLANTED:
        await store.replace(prefix + name, b"")
    assert await again() == encoded
    await marked(store, prefix)
    assert await again() == encoded
    await claimed(store, prefix)
    with pytest.raises(StoreUnavailable, match="being swept"):
        await again()


async def test_a_mark_that_was_overwritten_while_a_sweep_was_at_it_let_writers_in() -> None:
    store = AgedStore(MemoryStore())
    prefix, _ = await kept(store, "run")
    await marked(store, prefix)
    await claimed(store, prefix)
    await store.replace(prefix + SWEEP_MARK, b"")
    with pytest.raises(StoreUnavailable, match="being swept"):
        await chain_on(store).encode(payload("run"), scope_of("run"))


async def test_more_planted_leases_than_anybody_can_look_at_are_said_to_be_so() -> None:
    store = AgedStore(MemoryStore())
    prefix, _ = await kept(store, "run")
    await store.replace(prefix + SWEEP_MARK, b"")
    for number in range(1001):
        await store.replace(prefix + lease(ID, number), b"")
    with pytest.raises(StoreUnavailable, match="most of them are not from sweeps"):
        await chain_on(store).encode(payload("run"), scope_of("run"))
    await store.age(LONG)
    report = await sweep_of(store, Live()).run()
    assert (report.of(Action.FORGED).scopes, report.deleted, report.forged) == (1, 0, 1001)


async def test_marks_that_were_put_back_deleted_what_was_written_since() -> None:
    """Of another life of the same workflow ID: everything that the sweep had written then, byte for byte."""
    store = Watched(AgedStore(MemoryStore()))
    prefix, encoded = await kept(store, "run")
    await swept_twice(sweep_of(store, Live()), store)  # type: ignore[arg-type]
    assert await objects(store, prefix) == set()
    assert len(store.seen) == 3
    again = (await kept(store, "run"))[1]
    assert again[0] == encoded[0]
    await store.age(LONG)
    for name, content in store.seen.items():
        await store.replace(prefix + name, content)
    for live in (Live("run"), Live()):
        report = await sweep_of(store, live).run()
        assert (report.deleted, report.forged) == (0, 3)
    assert await opens(store, "run", again)


class Watched(Store):
    """Remembers every mark."""

    def __init__(self, inner: AgedStore) -> None:
        self.inner = inner
        self.seen: dict[str, bytes] = {}

    def _see(self, key: str, data: bytes) -> None:
        name = key.rpartition("/")[2]
        if name == SWEEP_MARK or name.startswith((SWEEP_LEASE, SWEEP_DELETING)):
            self.seen.setdefault(name, data)

    async def age(self, by: timedelta) -> None:
        await self.inner.age(by)

    async def create(self, key: str, data: bytes) -> bool:
        self._see(key, data)
        return await self.inner.create(key, data)

    async def replace(self, key: str, data: bytes) -> None:
        self._see(key, data)
        await self.inner.replace(key, data)

    async def get(self, key: str, limit: int = 2**20) -> bytes:
        return await self.inner.get(key, limit)

    async def delete(self, key: str) -> None:
        await self.inner.delete(key)

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        async for entry in self.inner.list_objects(prefix):
            yield entry


async def test_what_a_sweep_began_to_delete_is_left_if_the_engine_shows_it_by_now() -> None:
    """Half is gone already. Of the other half, what is whole stays, and a delta whose base is gone does not."""
    store = AgedStore(MemoryStore())
    prefix, _ = await kept(store, "run")
    listed = {entry.key: entry async for entry in store.list_objects(prefix)}
    first, *_ = sorted(listed.values(), key=lambda entry: entry.modified)
    whole = prefix + "0" * 63 + "1"
    await store.create(whole, b"of something else")
    await store.age(LONG)
    mark = await marked(store, prefix)
    await store.age(LONG)
    await claimed(store, prefix)
    scope = await sealer_of(prefix)
    now = mark.made + LONG
    name = deleting(mark.id, 0)
    await store.create(prefix + name, seal_mark(scope, name, SweepMark(mark.id, now, mark.until)))
    await store.delete(first.key)
    await store.age(timedelta(hours=2))
    report = await sweep_of(store, Live("run")).run()
    assert report.of(Action.SPARE).scopes == 1
    assert await keys_of(store, [prefix]) == [whole]
    # A new run is not handed a delta without its base.
    chain = chain_on(store)
    encoded = await all_at_once(
        chain.encode(payload, scope_of("run")) for payload in [payload("run", turn) for turn in range(3)]
    )
    assert await opens(store, "run", encoded)


async def test_a_scope_that_was_half_deleted_is_finished_if_it_is_still_dead() -> None:
    store = AgedStore(MemoryStore())
    prefix, _ = await kept(store, "run")
    await store.age(LONG)
    mark = await marked(store, prefix)
    await store.age(LONG)
    await claimed(store, prefix)
    scope = await sealer_of(prefix)
    name = deleting(mark.id, 0)
    sealed = seal_mark(scope, name, SweepMark(mark.id, mark.made + LONG, mark.until))
    await store.create(prefix + name, sealed)
    await store.delete(prefix + SWEEP_MARK)
    await store.age(timedelta(hours=2))
    report = await sweep_of(store, Live()).run()
    assert (report.of(Action.DELETE).scopes, report.deleted) == (1, 3)
    assert await keys_of(store, [prefix]) == []


async def test_numbers_that_somebody_occupied_stop_no_sweep() -> None:
    store = AgedStore(MemoryStore())
    prefix, _ = await kept(store, "run")
    await store.age(LONG)
    mark = await marked(store, prefix)
    for number in (0, 3):
        await store.create(prefix + lease(mark.id, number), b"")
    await store.create(prefix + deleting(mark.id, 0), b"")
    await store.age(LONG)
    report = await sweep_of(store, Live()).run()
    assert (report.of(Action.DELETE).scopes, report.deleted, report.forged) == (1, 3, 3)
    assert await keys_of(store, [prefix]) == []


async def test_the_last_number_that_there_is_is_said_to_be_occupied() -> None:
    store = AgedStore(MemoryStore())
    prefix, _ = await kept(store, "run")
    await store.age(LONG)
    mark = await marked(store, prefix)
    await store.create(prefix + lease(mark.id, LAST_LEASE), b"")
    await store.age(LONG)
    assert (await sweep_of(store, Live()).run()).of(Action.FORGED).scopes == 1


async def test_two_sweeps_with_different_graces_leave_no_half() -> None:
    """What goes stands in the mark: whoever takes over with a longer grace would else leave what is younger than that."""
    store = AgedStore(MemoryStore())
    prefix, _ = await kept(store, "run")
    await store.age(LONG)
    mark = await marked(store, prefix)
    await store.age(LONG)
    await claimed(store, prefix)
    scope = await sealer_of(prefix)
    name = deleting(mark.id, 0)
    sealed = seal_mark(scope, name, SweepMark(mark.id, mark.made + LONG, mark.until))
    await store.create(prefix + name, sealed)
    await store.age(timedelta(hours=2))
    longer = RetentionRules(grace=GRACE * 10, idle=GRACE * 10)
    assert (await sweep_of(store, Live(), rules=longer).run()).deleted == 3


async def test_without_keys_a_mark_is_found_to_be_damaged_and_no_more() -> None:
    """As SECURITY.md says: suite 0 has checksums only."""
    store = AgedStore(MemoryStore())
    chain = Chain(Zstd(), Offload(store, over=256), cache=PayloadCache(0))
    await chain.encode(payload("run"), scope_of("run"))
    (prefix,) = await ScopePrefixes(chain.sealings).of(scope_of("run"))
    await store.replace(prefix + SWEEP_MARK, b"")
    await chain.encode(payload("run"), scope_of("run"))
