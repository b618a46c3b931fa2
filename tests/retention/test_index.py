"""What is kept of a listing, in whatever order and pieces it comes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck.contracts.store import StoredObject
from coatcheck.retention import index as module
from coatcheck.retention.index import Index, ScopeFacts
from coatcheck.storage.sweep_marks import SWEEP_ALIVE, SWEEP_MARK, deleting, lease

SCOPES = [f"{'ab' * 16}/{number:032x}/" for number in range(1, 4)]
ID = bytes(range(16))
NAMES = [
    "0" * 64,
    "f" * 64,
    f"step-{1:020}",
    f"step-{2:020}",
    SWEEP_MARK,
    SWEEP_ALIVE,
    lease(ID, 0),
    lease(ID, 12),
    deleting(ID, 0),
    deleting(ID, 3),
]
_START = datetime(2026, 1, 1, tzinfo=UTC)

entries = st.dictionaries(
    st.tuples(st.sampled_from(SCOPES), st.sampled_from(NAMES)),
    st.tuples(st.integers(0, 1000), st.integers(-(10**12), 10**12)),
    max_size=30,
)


def listed(found: dict[tuple[str, str], tuple[int, int]]) -> list[StoredObject]:
    return [
        StoredObject(prefix + name, size, _START + timedelta(microseconds=micros))
        for (prefix, name), (size, micros) in found.items()
    ]


async def given_in_order(found: list[StoredObject]) -> AsyncIterator[StoredObject]:
    for entry in found:
        yield entry


def expected(found: list[StoredObject]) -> dict[str, ScopeFacts]:
    scopes: dict[str, ScopeFacts] = {}
    for entry in found:
        prefix, name = entry.key[:66], entry.key[66:]
        scopes.setdefault(prefix, ScopeFacts(prefix)).add(name, entry)
    return scopes


@given(found=entries, order=st.randoms(use_true_random=False), batch=st.integers(1, 3))
@settings(max_examples=200, deadline=None)
async def test_the_order_of_a_listing_does_not_matter(
    found: dict[tuple[str, str], tuple[int, int]], order: object, batch: int
) -> None:
    objects = listed(found)
    order.shuffle(objects)  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch, Index() as index:
        patch.setattr(module, "_BATCH", batch)
        patch.setattr(module, "_PAGE", 2)
        await index.list(given_in_order(objects))
        index.add_live([SCOPES[1], SCOPES[1], f"{'cd' * 16}/{2:032x}/"])
        scopes = [scope async for scope in index.scopes()]
        names = {prefix: names async for prefix, names in index.marked()}
    for facts, _ in scopes:
        facts.names = names.get(facts.prefix, {})
    assert {facts.prefix: facts for facts, _ in scopes} == expected(objects)
    assert [facts.prefix for facts, _ in scopes] == sorted(expected(objects))
    assert all(live == (facts.prefix == SCOPES[1]) for facts, live in scopes)
    assert index.objects == sum(facts.objects for facts, _ in scopes)


async def test_what_is_no_scope_is_left_out() -> None:
    keys = [
        "sweep/clock-1",
        f"{'ab' * 16}/sweep-origin-01",
        "keys/ab/1",
        f"{'AB' * 16}/{'0' * 32}/x",
    ]
    with Index() as index:
        await index.list(given_in_order([StoredObject(key, 1, _START) for key in keys]))
        assert ([scope async for scope in index.scopes()], index.objects) == ([], 0)


def test_what_a_sweep_writes_is_no_sign_of_life_and_what_a_writer_answers_is() -> None:
    facts = ScopeFacts(SCOPES[0])
    for number, name in enumerate((SWEEP_MARK, lease(ID, 0), deleting(ID, 0))):
        facts.add(name, StoredObject(name, 0, _START + timedelta(days=number)))
    assert (facts.newest, facts.objects) == (None, 0)
    facts.add(SWEEP_ALIVE, StoredObject(SWEEP_ALIVE, 0, _START))
    assert (facts.newest, facts.objects) == (_START, 0)


async def test_all_scopes_of_a_series_are_live_and_no_others() -> None:
    tenant, series = "ab" * 16, "01" + "5e" * 7
    mine = [f"{tenant}/{series}{number:016x}/" for number in range(3)]
    others = [f"{tenant}/02{series[2:]}{0:016x}/", f"{'cd' * 16}/{series}{0:016x}/"]
    with Index() as index:
        await index.list(given_in_order([StoredObject(f"{scope}x", 1, _START) for scope in mine + others]))
        index.add_live([f"{tenant}/{series}"])
        assert [facts.prefix async for facts, needed in index.scopes() if needed] == mine


class Turns:
    """Counts the turns that the event loop gave to another task."""

    taken = 0

    async def take(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.taken += 1


async def test_work_on_many_scopes_gave_nobody_else_a_turn() -> None:
    """A sweep of millions of them kept its worker from its heartbeat: there is a turn for each page, however fast it is."""
    many = [f"{'ab' * 16}/{number:032x}/" for number in range(5000)]
    found = [StoredObject(prefix + name, 1, _START) for prefix in many for name in ("0" * 64, SWEEP_MARK)]
    turns = Turns()
    others = asyncio.create_task(turns.take())
    try:
        with Index() as index:
            await asyncio.sleep(0)
            works: list[Callable[[], Awaitable[None]]] = [
                lambda: index.list(given_in_order(found)),
                lambda: _ended(index.marked()),
                lambda: _ended(index.scopes()),
            ]
            for work in works:
                turns.taken = 0
                await work()
                assert turns.taken >= 4
    finally:
        others.cancel()


async def _ended(items: AsyncIterator[object]) -> None:
    async for _ in items:
        pass
