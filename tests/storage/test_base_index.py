"""Lineages: the best base is found from content, and no payload is far from one that stands alone."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck.storage.base_index import BaseIndex, Member, sketch


def members_of(count: int) -> list[Member]:
    members = [Member(bytes([0] * 32))]
    for n in range(1, count):
        place, bases = members[-1].next()
        members.append(Member(n.to_bytes(32, "big"), place, bases))
    return members


def test_the_base_of_place_i_is_at_i_with_its_lowest_bit_cleared() -> None:
    members = members_of(300)
    for place, member in enumerate(members):
        assert member.place == place
        assert len(member.bases) == place.bit_count()
        if place:
            base = members[place & (place - 1)]
            assert member.bases == (base.object_id, *base.bases)


@given(st.integers(0, 2**40))
def test_the_next_place_can_always_be_reached(place: int) -> None:
    at, bases = place, []
    while at:
        at &= at - 1
        bases.append(at.to_bytes(32, "big"))
    following, chain = Member(place.to_bytes(32, "big"), place, tuple(bases)).next()
    assert following == place + 1
    assert int.from_bytes(chain[0], "big") == following & (following - 1)
    assert len(chain) == following.bit_count()


def text(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size // 2).hex().encode()


def found(index: BaseIndex, data: bytes) -> bytes | None:
    like = index.most_like(sketch(data))
    return like.object_id if like else None


def filled(*payloads: bytes) -> BaseIndex:
    index = BaseIndex()
    for n, payload in enumerate(payloads):
        index.add(Member(bytes([n])), sketch(payload))
    return index


def test_an_empty_index_and_a_stranger_find_nothing() -> None:
    assert found(BaseIndex(), text(1, 100_000)) is None
    assert found(filled(text(1, 100_000)), text(2, 100_000)) is None


@pytest.mark.parametrize("size", [600, 5_000, 50_000, 500_000])
def test_a_payload_that_grew_finds_its_last_form(size: int) -> None:
    data = text(1, size)
    forms = [data + text(n + 10, size // 20) * n for n in range(4)]
    assert found(filled(*forms), forms[-1] + b"more") == bytes([3])


def test_a_payload_that_was_cut_from_the_front_is_recognised() -> None:
    data = text(1, 400_000)
    assert found(filled(text(2, 400_000), data), data[150_001:] + b"more") == bytes([1])


def test_one_that_was_changed_in_many_places_is_recognised() -> None:
    data = bytearray(text(1, 2_000_000))
    index = filled(bytes(data), text(2, 2_000_000))
    for position in random.Random(3).sample(range(len(data)), 20):
        data[position] ^= 1
    assert found(index, bytes(data)) == bytes([0])


def test_two_agents_in_one_run_do_not_mix() -> None:
    prompt = text(0, 60_000)
    agents: list[list[bytes]] = [[prompt + text(n, 40_000)] for n in (1, 2)]
    index = filled(agents[0][0], agents[1][0])
    for turn in range(10):
        for agent, forms in enumerate(agents):
            grown = forms[-1] + text(100 * turn + agent, 9_000)
            expected = bytes([agent]) if turn == 0 else bytes([agent, turn - 1])
            assert found(index, grown) == expected
            index.add(Member(bytes([agent, turn])), sketch(grown))
            forms.append(grown)


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coatcheck.storage.base_index._MAX_REMEMBERED", 20)
    payloads = [text(n, 100_000) for n in range(20)]
    index = filled(*payloads)
    assert len(index._latest) <= 20
    assert found(index, payloads[-1]) == bytes([19])
    assert found(index, payloads[0]) is None


@given(st.binary(max_size=3000))
def test_any_bytes_have_a_sketch(data: bytes) -> None:
    assert sketch(data)
    assert sketch(data) == sketch(bytes(bytearray(data)))
