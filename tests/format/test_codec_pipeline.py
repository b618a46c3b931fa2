"""Codecs undone: a chain of objects gives what each of them gives after the other, or says where it stops."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck import Codec, FormatError, LimitExceeded, Zstd
from coatcheck.format.codec_pipeline import CodecPipeline, Encoded
from coatcheck.format.envelope import Body, EnvelopeHeader
from coatcheck.storage.base_index import Member
from tests.chains import Reverse

CHAINS: list[tuple[Codec, ...]] = [(Zstd(),), (Zstd(), Reverse()), (Zstd(), Zstd())]


def pipeline(codecs: tuple[Codec, ...]) -> CodecPipeline:
    return CodecPipeline(codecs, 2**24)


def body(encoded: Encoded, member: Member, size: int) -> Body:
    header = EnvelopeHeader(1, bytes(4), bytes(16), encoded.codecs, size, member.bases)
    return Body(member.object_id, header, encoded.body)


def stored(codecs: tuple[Codec, ...], payloads: list[bytes]) -> list[Body]:
    """The objects of payloads, each the delta that its place asks for."""
    at, member = pipeline(codecs), Member(bytes(32))
    bodies = [body(at.encode(payloads[0]), member, len(payloads[0]))]
    for n, payload in enumerate(payloads[1:], 1):
        place, bases = member.next()
        member = Member(bytes([n]) * 32, place, bases)
        delta = at.encode_delta(payload, payloads[bases[0][0]], place)
        assert delta is not None
        bodies.append(body(delta, member, len(payload)))
    return bodies


def delta_chain(bodies: list[Body], last: int) -> list[Body]:
    return [bodies[last], *(bodies[base[0]] for base in bodies[last].header.bases)]


def growing(count: int) -> list[bytes]:
    said = random.Random(0).randbytes(count * 400).hex().encode()
    return [said[: 800 * n] for n in range(1, count + 1)]


@pytest.mark.parametrize("codecs", CHAINS, ids=repr)
def test_every_payload_of_a_delta_chain_comes_back_with_its_place(codecs: tuple[Codec, ...]) -> None:
    payloads = growing(20)
    bodies = stored(codecs, payloads)
    for last, payload in enumerate(payloads):
        way = delta_chain(bodies, last)
        assert pipeline(codecs).decode_chain(way, None) == (payload, last)
        if way[1:]:
            base = payloads[way[0].header.bases[0][0]]
            assert pipeline(codecs).decode_chain(way[:1], base) == (payload, last)


@pytest.mark.parametrize("last", [1, 11])
def test_a_line_of_one_codec_is_decoded_in_one_go(last: int, monkeypatch: pytest.MonkeyPatch) -> None:
    payloads = growing(12)
    way = delta_chain(stored((Zstd(),), payloads), last)
    monkeypatch.delattr(Zstd, "decode")
    monkeypatch.delattr(Zstd, "decode_delta")
    assert pipeline((Zstd(),)).decode_chain(way, None) == (payloads[last], last)


@given(st.lists(st.binary(min_size=8, max_size=300), min_size=2, max_size=9))
def test_payloads_that_have_nothing_in_common_come_back_as_well(payloads: list[bytes]) -> None:
    bodies = stored((Zstd(),), payloads)
    for last, payload in enumerate(payloads):
        assert pipeline((Zstd(),)).decode_chain(delta_chain(bodies, last), None) == (payload, last)


@pytest.mark.parametrize("codecs", CHAINS, ids=repr)
@pytest.mark.parametrize("more", [-1, 1])
def test_a_payload_that_is_not_as_large_as_its_header_says_is_an_error(
    codecs: tuple[Codec, ...], more: int
) -> None:
    target, *others = delta_chain(stored(codecs, growing(12)), 11)
    header = target.header._replace(size=target.header.size + more)
    with pytest.raises((FormatError, LimitExceeded), match=target.object_id.hex()):
        pipeline(codecs).decode_chain([target._replace(header=header), *others], None)


@pytest.mark.parametrize("codecs", CHAINS, ids=repr)
@pytest.mark.parametrize(
    ("damage", "at"),
    [(damage, at) for damage in ("cut", "size", "codec") for at in range(4)]
    + [("place", at) for at in range(3)],
)
def test_what_is_amiss_is_named(codecs: tuple[Codec, ...], damage: str, at: int) -> None:
    """The last of the chain stands alone, and has no place."""
    way = delta_chain(stored(codecs, growing(12)), 11)
    assert len(way) == 4
    found = way[at]
    header = found.header
    spoiled = {
        "cut": found._replace(data=found.data[:-1] if codecs[-1:] != (Reverse(),) else found.data[1:]),
        "size": found._replace(header=header._replace(size=header.size - 1)),
        "codec": found._replace(header=header._replace(codecs=("unheard-of",))),
        "place": found._replace(header=header._replace(bases=(*header.bases, bytes(32)))),
    }[damage]
    with pytest.raises((FormatError, LimitExceeded), match=found.object_id.hex()):
        pipeline(codecs).decode_chain([*way[:at], spoiled, *way[at + 1 :]], None)
