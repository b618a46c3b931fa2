"""The delta chain of an object: as its headers say, and never in circles."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coatcheck import FormatError
from coatcheck.format.envelope import Body, EnvelopeHeader
from coatcheck.pipeline.decode import DeltaChain, delta_chain_of
from coatcheck.storage.cache import Cached


def body(object_id: bytes, *bases: bytes) -> Body:
    return Body(
        object_id, EnvelopeHeader(1, bytes(4), bytes(16), ("zstd",), 9, bases), b"body of " + object_id
    )


def of(cached: dict[bytes, Cached], object_id: bytes) -> DeltaChain:
    return delta_chain_of(cached.get(object_id), cached.get)


@example(64, "alone")
@given(st.integers(1, 64), st.sampled_from(["alone", "on a payload", "missing"]))
def test_it_ends_where_something_stands_alone_or_at_a_payload(length: int, end: str) -> None:
    ids = [bytes([n]) for n in range(length + 1)]
    bodies = [body(here, below) for here, below in itertools.pairwise(ids)]
    cached: dict[bytes, Cached] = dict(zip(ids, bodies, strict=False))
    if end == "alone":
        bodies[-1] = cached[ids[-2]] = body(ids[-2])
    if end == "on a payload":
        cached[ids[-1]] = b"payload"
    assert of(cached, ids[0]) == DeltaChain(
        bodies, b"payload" if end == "on a payload" else None, end != "missing"
    )


@pytest.mark.parametrize("payload", [b"payload", b""])
def test_a_payload_takes_nothing(payload: bytes) -> None:
    assert of({b"a": payload}, b"a") == DeltaChain([], payload, is_whole=True)
    assert of({b"a": body(b"a", b"b"), b"b": payload}, b"a").base == payload


def test_what_is_not_at_hand_is_missing() -> None:
    assert of({}, b"a") == DeltaChain([], None, is_whole=False)


def test_a_chain_is_as_long_as_any_scope_can_make_it_and_no_longer() -> None:
    cached: dict[bytes, Cached] = {bytes([n]): body(bytes([n]), bytes([n + 1])) for n in range(65)}
    assert len(of({**cached, bytes([63]): body(bytes([63]))}, bytes([0])).bodies) == 64
    with pytest.raises(FormatError, match="circular"):
        of({**cached, bytes([64]): body(bytes([64]))}, bytes([0]))


@pytest.mark.parametrize("circle", [[b"a"], [b"a", b"b"], [b"a", b"b", b"c"]])
def test_a_chain_that_leads_back_to_itself_is_an_error(circle: list[bytes]) -> None:
    cached: dict[bytes, Cached] = {
        here: body(here, below) for here, below in zip(circle, circle[1:] + circle[:1], strict=True)
    }
    with pytest.raises(FormatError, match="circular"):
        of(cached, b"a")
