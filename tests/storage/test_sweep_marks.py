"""The marks of sweeps: their names, and what is sealed in them."""

import struct
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck import MemoryStore, Scope
from coatcheck.contracts.store import check_key
from coatcheck.errors import PayloadNotFound
from coatcheck.format.layout import is_object, is_record, split
from coatcheck.format.suites import ScopeSealer, SealingPolicy
from coatcheck.storage.client import StoreClient
from coatcheck.storage.sealed_records import seal_record
from coatcheck.storage.sweep_marks import (
    COPIED_BACK_AFTER,
    LAST_LEASE,
    MOST_KEPT,
    SWEEP_ALIVE,
    SWEEP_MARK,
    SweepMark,
    deleting,
    deleting_of,
    is_sweeps_own,
    lease,
    lease_of,
    read_mark,
    seal_mark,
)
from tests.chains import SCOPE, SEALINGS

PREFIX = f"{'ab' * 16}/{'cd' * 16}/"
IDS = st.binary(min_size=16, max_size=16)
ID = bytes(range(16))
MADE = datetime(2026, 1, 1, tzinfo=UTC)
MARK = SweepMark(ID, MADE, MADE - timedelta(days=7))
NAMES = [SWEEP_MARK, lease(ID, 0), deleting(ID, 3)]


def sealers(scope: Scope = SCOPE) -> list[ScopeSealer]:
    """With and without keys."""
    return [SealingPolicy(next(iter(sealing), None)).for_new(scope) for sealing in SEALINGS]


@given(mark_id=IDS, number=st.integers(0, min(MOST_KEPT, LAST_LEASE)))
def test_numbers_come_back(mark_id: bytes, number: int) -> None:
    assert lease_of(lease(mark_id, number)) == (mark_id, number)
    assert deleting_of(deleting(mark_id, number)) == (mark_id, number)
    assert lease_of(deleting(mark_id, number)) is None
    assert deleting_of(lease(mark_id, number)) is None


@given(
    name=st.sampled_from([SWEEP_MARK, SWEEP_ALIVE])
    | st.builds(lease, IDS, st.integers(0, LAST_LEASE))
    | st.builds(deleting, IDS, st.integers(0, MOST_KEPT))
)
def test_no_mark_is_taken_for_an_object_or_a_record(name: str) -> None:
    assert not is_object(name)
    assert not is_record(name)
    assert is_sweeps_own(name) == (name != SWEEP_ALIVE)
    assert split(check_key(PREFIX + name)) == (PREFIX, name)


@given(key=st.text(max_size=120))
def test_what_is_split_can_be_joined(key: str) -> None:
    place = split(key)
    assert place is None or "".join(place) == key


def test_no_object_and_no_record_is_taken_for_a_mark() -> None:
    for name in (
        "0" * 64,
        f"step-{7:020}",
        f"sweep-{7:020}",
        f"-sweep-lease-{ID.hex()}-",
        f"-sweep-lease-{ID.hex()}-01",
        f"-sweep-lease-{ID.hex()}-{LAST_LEASE + 1}",
        f"-sweep-lease-{ID.hex()[1:]}-1",
        f"-sweep-deleting-{ID.hex()}-x",
    ):
        assert not is_sweeps_own(name)


async def written(scope: ScopeSealer, name: str, data: bytes) -> StoreClient:
    store = MemoryStore()
    await store.create(scope.prefix + name, data)
    return StoreClient(store)


@pytest.mark.parametrize("scope", sealers())
@pytest.mark.parametrize("name", NAMES)
async def test_what_is_sealed_comes_back(scope: ScopeSealer, name: str) -> None:
    access = await written(scope, name, seal_mark(scope, name, MARK))
    assert await read_mark(access, scope, name, MADE) == MARK
    assert await read_mark(access, scope, name, None) == MARK
    with pytest.raises(PayloadNotFound):
        await read_mark(access, scope, "-sweep-mark-of-nobody", MADE)


@pytest.mark.parametrize("scope", sealers())
async def test_what_no_sweep_made_was_believed(scope: ScopeSealer) -> None:
    """Empty, garbage, too large, no mark, another scope's, another name's, or another id's."""
    (other,) = [one for one in sealers(Scope(SCOPE.tenant, "other")) if one.suite == scope.suite]
    sealed = seal_mark(scope, SWEEP_MARK, MARK)
    for name, data in [
        (SWEEP_MARK, b""),
        (SWEEP_MARK, b"\x00" * 1000),
        (SWEEP_MARK, bytes(10**6)),
        (SWEEP_MARK, sealed[:-1]),
        (SWEEP_MARK, seal_record(scope, SWEEP_MARK, b"no mark")),
        (SWEEP_MARK, seal_record(scope, SWEEP_MARK, struct.pack(">16sqq", ID, 2**62, 0))),
        (SWEEP_MARK, seal_mark(other, SWEEP_MARK, MARK)),
        (lease(ID, 0), sealed),
        (lease(ID, 1), seal_mark(scope, lease(ID, 0), MARK)),
        (deleting(ID, 0), seal_mark(scope, lease(ID, 0), MARK)),
        (lease(bytes(16), 0), seal_mark(scope, lease(bytes(16), 0), MARK)),
    ]:
        assert await read_mark(await written(scope, name, data), scope, name, MADE) is None


@pytest.mark.parametrize("scope", sealers())
async def test_a_mark_that_was_put_back_was_believed(scope: ScopeSealer) -> None:
    access = await written(scope, SWEEP_MARK, seal_mark(scope, SWEEP_MARK, MARK))
    for apart in (COPIED_BACK_AFTER, -COPIED_BACK_AFTER):
        assert await read_mark(access, scope, SWEEP_MARK, MADE + apart) == MARK
        later = MADE + apart + apart / 3600 / 10**6
        assert await read_mark(access, scope, SWEEP_MARK, later) is None
