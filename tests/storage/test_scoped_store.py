"""What is known to be in a store: only what was written here, or what the store itself vouched for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck import MemoryStore
from coatcheck.contracts.sealing import TENANT_SCOPE_TAG
from coatcheck.storage import scoped_store
from coatcheck.storage.scoped_store import TRUSTED_FOR, ScopeState

ID, BASE, OTHER = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32


class Clock:
    seconds = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(scoped_store, "boottime", lambda: clock.seconds)
    return clock


def of_a_run() -> ScopeState:
    return ScopeState(MemoryStore(), f"{'0' * 32}/{'1' * 32}/")


def of_a_tenant() -> ScopeState:
    return ScopeState(MemoryStore(), f"{'0' * 32}/{TENANT_SCOPE_TAG.hex()}/")


def test_what_was_written_or_found_is_there_and_what_was_read_alone_is_not() -> None:
    known = of_a_run()
    assert known.is_cold
    known.wrote(ID, (BASE,))
    known.found(BASE, ())
    known.read(OTHER, (BASE,))
    assert not known.is_cold
    assert (known.bases_of(ID), known.bases_of(BASE), known.bases_of(OTHER)) == ((BASE,), (), None)


def test_what_was_read_is_there_once_it_is_listed() -> None:
    known = of_a_run()
    known.read(ID, (BASE,))
    known.listed({ID: 10, OTHER: 20})
    assert known.bases_of(ID) == (BASE,)
    assert known.is_listed(OTHER)
    assert known.size_listed(OTHER) == 20
    assert known.bases_of(OTHER) is None  # what it holds was not looked at
    known.lost([ID])
    assert known.bases_of(ID) is None


def test_only_what_the_store_itself_showed_is_built_on() -> None:
    known = of_a_run()
    known.wrote(ID, (BASE,))
    known.read(OTHER, (BASE,))
    assert known.are_there([ID])
    assert not known.are_there([ID, BASE])
    assert not known.are_there([OTHER])
    known.listed({BASE: 1})
    assert known.are_there([ID, BASE])


@given(
    st.lists(
        st.tuples(st.sampled_from(["wrote", "read", "listed", "lost"]), st.integers(0, 9), st.integers(0, 4))
    )
)
def test_what_it_costs_is_that_of_what_it_knows(calls: list[tuple[str, int, int]]) -> None:
    known = of_a_run()
    for call, number, bases in calls:
        object_id = bytes([number]) * 32
        if call == "listed":
            known.listed({object_id: bases})
        elif call == "lost":
            known.lost([object_id])
        else:
            getattr(known, call)(object_id, (BASE,) * bases)
    expected = len(known._known) * scoped_store._OBJECT_COST + len(known._listed) * scoped_store._LISTED_COST
    expected += sum(len(one.bases) for one in known._known.values()) * scoped_store._BASE_COST
    assert known.cost == expected + scoped_store._SCOPE_COST


def test_a_scope_is_confirmed_once_somebody_looked() -> None:
    known = of_a_run()
    assert not known.is_confirmed
    known.confirmed(since=0.0)
    assert known.is_confirmed


def test_what_was_learned_first_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoped_store, "_MOST_OBJECTS", 2)
    known = of_a_run()
    for object_id in (ID, BASE, OTHER):
        known.wrote(object_id, ())
    assert [known.bases_of(object_id) for object_id in (ID, BASE, OTHER)] == [None, (), ()]


def test_to_read_what_was_written_takes_nothing_back() -> None:
    known = of_a_run()
    known.wrote(ID, (BASE,))
    known.read(ID, ())
    assert known.bases_of(ID) == (BASE,)


def test_in_the_tenant_scope_only_what_was_written_here_is_relied_on() -> None:
    known = of_a_tenant()
    known.found(ID, ())
    assert known.bases_of(ID) is None
    known.wrote(ID, ())
    assert known.bases_of(ID) == ()


def test_an_hour_after_the_last_sign_of_life_nothing_holds(clock: Clock) -> None:
    known = of_a_run()
    clock.seconds += TRUSTED_FOR
    assert not known.is_out_of_date
    known.wrote(ID, ())
    clock.seconds += TRUSTED_FOR
    assert not known.is_out_of_date
    known.confirmed(since=clock.seconds)
    clock.seconds += TRUSTED_FOR
    known.confirmed(since=0.0)
    assert not known.is_out_of_date
    known.read(ID, ())
    known.found(ID, ())
    clock.seconds += 1
    assert known.is_out_of_date


def test_in_the_tenant_scope_writing_is_no_sign_of_life(clock: Clock) -> None:
    """What was written first may expire, however much is written after it."""
    known = of_a_tenant()
    clock.seconds += TRUSTED_FOR
    known.wrote(ID, ())
    clock.seconds += 1
    assert known.is_out_of_date
