"""Zstandard: gains or steps aside, and never lets out more than it was allowed."""

import itertools
import random
import resource
import threading
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck import ConfigError, FormatError, LimitExceeded, Zstd
from coatcheck.codecs.zstd import zstd


@given(st.binary(max_size=5000) | st.binary(max_size=20).map(lambda data: data * 1000))
def test_what_it_takes_comes_back_smaller_or_is_left_alone(data: bytes) -> None:
    frame = Zstd().encode(data)
    if frame is not None:
        assert len(frame) < len(data)
        assert Zstd().decode(frame, len(data)) == data


@pytest.mark.parametrize("level", [0, -1, 23])
def test_levels_that_do_not_exist_are_refused(level: int) -> None:
    with pytest.raises(ConfigError, match=str(level)):
        Zstd(level)


def test_one_byte_above_the_limit_is_refused() -> None:
    frame = zstd.compress(b"a" * 1000)
    assert Zstd().decode(frame, 1000) == b"a" * 1000
    with pytest.raises(LimitExceeded, match="1000 bytes where 999"):
        Zstd().decode(frame, 999)


def forged_frame(size: int, declared: int, window_log: int) -> bytes:
    """A frame of ``size`` zeros that declares another size and window (RFC 8878, section 3.1.1.1)."""
    honest = zstd.compress(bytes(size), options={zstd.CompressionParameter.content_size_flag: 0})
    descriptor, blocks = honest[4], honest[6:]
    assert descriptor & 0b1110_0111 == 0  # no content size, a window byte, no dictionary
    window = bytes([(window_log - 10) << 3])
    return honest[:4] + bytes([descriptor | 0b1000_0000]) + window + declared.to_bytes(4, "little") + blocks


def peak_memory() -> int:
    """The most memory that this process ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_a_frame_that_lies_about_its_size_is_found_out_at_the_limit() -> None:
    frame = forged_frame(2**28, declared=1000, window_log=20)
    assert zstd.get_frame_info(frame).decompressed_size == 1000
    before = peak_memory()
    with pytest.raises((LimitExceeded, FormatError)):
        Zstd().decode(frame, 1000)
    assert peak_memory() - before < 32 * 2**20


@pytest.mark.parametrize("size", [1, 2**17, 2**17 + 1, 2**20, 2**20 + 1, 3 * 2**20 + 7])
def test_payloads_of_any_size_come_back_whole_and_as_deltas(size: int) -> None:
    data = random.Random(size).randbytes(size // 2).hex().encode() + b"x" * (size % 2)
    codec = Zstd()
    assert codec.decode(zstd.compress(data), size) == data
    base = b"another " + data
    delta = codec.encode_delta(data, base)
    assert delta is not None
    assert codec.decode_delta(delta, base, size) == data
    with pytest.raises(FormatError, match="full frame"):
        codec.decode(zstd.compress(data)[:-1], size)
    with pytest.raises(FormatError, match="full frame"):
        codec.decode_delta(delta[:-1], base, size)
    with pytest.raises(FormatError, match="unused data"):
        codec.decode_delta(delta + b"\0", base, size)
    with pytest.raises(LimitExceeded, match=f"{size} bytes where {size - 1}"):
        codec.decode_delta(delta, base, size - 1)


@pytest.mark.parametrize(
    "start", [b"", b"\x37\xa4\x30\xec", b"\x28\xb5\x2f\xfd"], ids=["text", "dictionary", "frame"]
)
@pytest.mark.parametrize("size", [12, 5000, 2**20 + 1])
def test_a_line_of_deltas_decodes_in_one_go(start: bytes, size: int) -> None:
    """Whatever payloads look like: as a prefix, what begins like a dictionary of Zstandard's is bytes like others."""
    codec = Zstd()
    growing = random.Random(size).randbytes(size).hex().encode()
    payloads = [start + growing[: size * share // 4] for share in (3, 5, 4, 8)]
    whole = zstd.compress(payloads[0])
    deltas = [codec.encode_delta(payload, base) for base, payload in itertools.pairwise(payloads)]
    limits = [len(payload) for payload in payloads]
    assert codec.decode_deltas(whole, [memoryview(delta or b"") for delta in deltas], limits) == payloads[-1]
    frames = [whole, *(delta or b"" for delta in deltas)]
    for at in range(len(frames)):
        smaller = [*limits[:at], limits[at] - 1, *limits[at + 1 :]]
        with pytest.raises(LimitExceeded, match=f"{limits[at]} bytes where {limits[at] - 1}"):
            codec.decode_deltas(frames[0], frames[1:], smaller)
        cut = [*frames[:at], frames[at][:-1], *frames[at + 1 :]]
        with pytest.raises(FormatError, match="full frame"):
            codec.decode_deltas(cut[0], cut[1:], limits)


def test_in_a_line_of_deltas_too_a_huge_window_gets_no_memory() -> None:
    frame = zstd.compress(b"payload")
    greedy = forged_frame(1000, declared=1000, window_log=31)
    for whole, delta in ((greedy, frame), (frame, greedy)):
        with pytest.raises(FormatError, match="window"):
            Zstd().decode_deltas(whole, [delta], [1000, 1000])


@pytest.mark.parametrize("kept", [0, 1, 4999])
def test_a_delta_that_reaches_before_the_start_of_its_base_is_refused(kept: int) -> None:
    base = random.Random(0).randbytes(5000)
    delta = Zstd().encode_delta(base + b"more", base)
    assert delta is not None
    with pytest.raises(FormatError):
        Zstd().decode_delta(delta, base[:kept], 5004)


def test_nothing_is_no_frame() -> None:
    assert Zstd().encode(b"") is None
    assert Zstd().encode_delta(b"", b"an earlier payload") is None
    for spoil in (b"", b"more"):
        with pytest.raises(FormatError, match="empty"):
            Zstd().decode(zstd.compress(b"") + spoil, 10)


@pytest.mark.parametrize("level", [1, 3, 4, 9])
@pytest.mark.parametrize("size", [700_000, 1_100_000, 1_500_000])
def test_the_beginning_of_a_large_base_was_out_of_sight(size: int, level: int) -> None:
    base = random.Random(0).randbytes(size)
    delta = Zstd(level).encode_delta(base[:100_000] + b"and something new", base)
    assert delta is not None
    assert len(delta) < 500


def test_decoding_took_twice_the_memory_of_what_it_gave() -> None:
    data = random.Random(0).randbytes(500_000).hex().encode() * 8
    frame = zstd.compress(data)
    tracemalloc.start()
    try:
        assert Zstd().decode(frame, len(data)) == data
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.25 * len(data)


def test_a_frame_that_asks_for_a_huge_window_gets_no_memory_for_it() -> None:
    frame = forged_frame(2**28, declared=2**28, window_log=31)
    before = peak_memory()
    with pytest.raises((LimitExceeded, FormatError)):
        Zstd().decode(frame, 2**28 - 1)
    with pytest.raises(FormatError):
        Zstd().decode(frame, 2**28)
    assert peak_memory() - before < 32 * 2**20


def test_a_frame_without_a_declared_size_is_refused() -> None:
    frame = zstd.compress(b"a" * 1000, options={zstd.CompressionParameter.content_size_flag: 0})
    with pytest.raises(LimitExceeded, match="unknown number"):
        Zstd().decode(frame, 1000)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: f[:-1],
        lambda f: f + b"\0",
        lambda f: f + f,
        lambda f: b"",
        lambda f: b"abc",
        lambda f: f[:6] + b"\xff" * 9,
    ],
)
def test_malformed_frames_are_typed_errors(spoil: type[bytes]) -> None:
    with pytest.raises((FormatError, LimitExceeded)):
        Zstd().decode(spoil(zstd.compress(bytes(range(256)) * 4)), 1024)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_a_typed_error(data: bytes) -> None:
    with pytest.raises((FormatError, LimitExceeded)):
        Zstd().decode(b"\x28\xb5\x2f\xfd" + data, 64)


def test_threads_share_one_codec() -> None:
    data = bytes(range(256)) * 100
    codec, failures = Zstd(), []

    def work() -> None:
        for _ in range(50):
            frame = codec.encode(data)
            if frame is None or codec.decode(frame, len(data)) != data:
                failures.append(frame)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_text_of_few_words_lost_its_deltas() -> None:
    """The plainest search found a near match everywhere, and never the long one."""
    source = random.Random(3)
    words = [source.choice(("alpha ", "beta ", "gamma ", "delta ", "epsilon ")) for _ in range(42_000)]
    base, data = "".join(words[:40_000]).encode(), "".join(words).encode()
    delta = Zstd().encode_delta(data, base)
    assert delta is not None
    assert len(delta) < len(data) / 100
    assert Zstd().decode_delta(delta, base, len(data)) == data
