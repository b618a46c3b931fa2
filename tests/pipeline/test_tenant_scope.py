"""The tenant scope, which is never swept, and where an operator may let objects expire: nothing there is relied on long."""

import random

import pytest

from coatcheck import MemoryStore, Scope
from coatcheck.format.reference import Reference
from coatcheck.storage import scoped_store
from tests.retention.sweeping import TENANT, chain_on, keys_of

SCOPE = Scope(TENANT)


def turns(count: int) -> list[bytes]:
    source = random.Random(5)
    parts = [source.randbytes(2000) for _ in range(count)]
    return [b"".join(parts[: turn + 1]) for turn in range(count)]


class Clock:
    """In place of the one that ``scoped_store`` looks at."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        patch.setattr(scoped_store, "boottime", lambda: self.seconds)


class Counting(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    async def create(self, key: str, data: bytes) -> bool:
        raise AssertionError("what is there may be about to expire")

    async def replace(self, key: str, data: bytes) -> None:
        self.writes.append(key)
        await super().replace(key, data)


async def test_another_process_writes_the_object_again_in_one_request() -> None:
    store = Counting()
    first = await chain_on(store).encode(turns(1)[0], SCOPE)
    again = await chain_on(store).encode(turns(1)[0], SCOPE)
    assert first == again
    assert len(store.writes) == 2


async def test_a_process_relies_on_what_it_wrote_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much it writes meanwhile."""
    clock = Clock(monkeypatch)
    store = Counting()
    chain = chain_on(store)
    first, *others = turns(70)
    await chain.encode(first, SCOPE)
    for minute, other in enumerate(others):
        clock.seconds = 60.0 * minute
        await chain.encode(other, SCOPE)
        await chain.encode(first, SCOPE)
    key = next(key for key in await keys_of(store) if store.writes.count(key) > 1)
    assert store.writes.count(key) == 2


async def test_nothing_is_built_on_anything_so_no_base_list_shows_how_alike_strangers_payloads_are() -> None:
    chain = chain_on(Counting())
    for payload in turns(20):
        assert Reference.from_bytes(await chain.encode(payload, SCOPE)).bases == ()


@pytest.mark.parametrize("same_text", [10_000, 20_000])
async def test_two_processes_made_two_payloads_deltas_of_each_other(same_text: int) -> None:
    """Each of them writes anew what the other one has built on: neither could then be read again."""
    store = MemoryStore()
    text = random.Random(7).randbytes(same_text)
    v1, v2 = b"status: open " + text, b"status: paid " + text
    first, second = chain_on(store), chain_on(store)
    journals = [
        (v1, await first.encode(v1, SCOPE)),
        (v2, await second.encode(v2, SCOPE)),
        (v1, await second.encode(v1, SCOPE)),
        (v2, await first.encode(v2, SCOPE)),
    ]
    for payload, journal in journals:
        assert await chain_on(store).decode(journal, SCOPE) == payload


async def test_what_was_only_read_is_no_base() -> None:
    store = Counting()
    writer, reader = chain_on(store), chain_on(store)
    first, second = turns(2)
    await reader.decode(await writer.encode(first, SCOPE), SCOPE)
    assert Reference.from_bytes(await reader.encode(second, SCOPE)).bases == ()
