from hypothesis import given
from hypothesis import strategies as st

from coatcheck.contracts import check_key
from coatcheck.storage.markers import (
    ALIVE,
    MOST_KEPT,
    TOMBSTONE,
    claim,
    claim_of,
    deleting,
    is_object,
    is_record,
    is_sweeps_own,
    kept_while_deleting,
    split,
)

PREFIX = f"{'ab' * 16}/{'cd' * 16}/"


@given(number=st.integers(0, MOST_KEPT))
def test_numbers_come_back(number: int) -> None:
    assert claim_of(claim(number)) == number
    assert kept_while_deleting(deleting(number)) == number
    assert claim_of(deleting(number)) is None
    assert kept_while_deleting(claim(number)) is None


@given(
    name=st.sampled_from([TOMBSTONE, ALIVE])
    | st.integers(0, MOST_KEPT).map(claim)
    | st.integers(0, MOST_KEPT).map(deleting)
)
def test_no_mark_is_taken_for_an_object_or_a_record(name: str) -> None:
    assert not is_object(name)
    assert not is_record(name)
    assert is_sweeps_own(name) == (name != ALIVE)
    assert split(check_key(PREFIX + name)) == (PREFIX, name)


@given(key=st.text(max_size=120))
def test_what_is_split_can_be_joined(key: str) -> None:
    place = split(key)
    assert place is None or "".join(place) == key


def test_no_object_and_no_record_is_taken_for_a_mark() -> None:
    for name in (
        "0" * 64,
        f"step-{7:020}",
        f"condemned-{7:020}",
        f"deleting-{7:020}",
        "condemned-",
        "deleting-x",
    ):
        assert not is_sweeps_own(name)
