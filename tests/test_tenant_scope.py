"""The tenant scope, which is never swept, and where an operator may let objects expire: nothing there is relied on long."""

import random
from datetime import timedelta

import pytest

from coatcheck import MemoryStore, Scope
from coatcheck.format.reference import Reference
from coatcheck.storage import presence
from tests.retention.sweeping import TENANT, chain_on, keys_of

SCOPE = Scope(TENANT)


def turns(count: int) -> list[bytes]:
    source = random.Random(5)
    parts = [source.randbytes(2000) for _ in range(count)]
    return [b"".join(parts[: turn + 1]) for turn in range(count)]


class Clock:
    """In place of the one that ``presence`` looks at."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        patch.setattr(presence, "uptime", lambda: self.seconds)


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


async def test_deltas_never_reach_back_further_than_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    store = Counting()
    chain = chain_on(store)
    written: dict[bytes, float] = {}
    deltas = 0
    for minute, payload in enumerate(turns(150)):
        clock.seconds = 60.0 * minute
        reference = Reference.from_bytes(await chain.encode(payload, SCOPE))
        written[reference.object_id] = clock.seconds
        deltas += bool(reference.bases)
        for base in reference.bases:
            assert clock.seconds - written[base] <= timedelta(hours=1).total_seconds()
    assert deltas > 100


async def test_what_was_only_read_is_no_base() -> None:
    store = Counting()
    writer, reader = chain_on(store), chain_on(store)
    first, second = turns(2)
    await reader.decode(await writer.encode(first, SCOPE), SCOPE)
    assert Reference.from_bytes(await reader.encode(second, SCOPE)).bases == ()
