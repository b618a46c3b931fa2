"""Decompression bombs, each in a process of its own whose memory is measured.

A forger has to authenticate a bomb before anything is decompressed; without keys anybody can. So these are envelopes of
suite 0 with the right checksum: what is left when authentication does not help.
"""

import logging
import subprocess
import sys
from collections.abc import Callable

import pytest

from coatcheck import FormatError, Zstd
from coatcheck.codecs.zstd import zstd
from coatcheck.format.checksum import Checksum
from coatcheck.format.codec_pipeline import CodecPipeline
from coatcheck.format.envelope import INLINE, EnvelopeHeader
from tests.chains import SCOPE
from tests.codecs.test_zstd import forged_frame
from tests.security.bomb_process import CAP

HUGE = 2**30
_log = logging.getLogger(__name__)
SPARE = 32 * 2**20
"""Bytes above the cap."""


def zeros(size: int) -> bytes:
    """A frame of that many zeros, which declares them; made without holding them."""
    compressor = zstd.ZstdCompressor(level=1)
    compressor.set_pledged_input_size(size)
    piece = bytes(2**20)
    parts = [compressor.compress(piece) for _ in range(size // len(piece))]
    return b"".join([*parts, compressor.flush()])


def stored(data: bytes) -> bytes:
    """A frame that holds ``data`` as it is: nothing but raw blocks (RFC 8878, section 3.1.1.2)."""
    most = 2**17
    frame = bytearray(b"\x28\xb5\x2f\xfd\xa0" + len(data).to_bytes(4, "little"))
    for at in range(0, len(data), most):
        block = data[at : at + most]
        frame += (len(block) << 3 | (at + most >= len(data))).to_bytes(3, "little") + block
    return bytes(frame)


def nested() -> bytes:
    """Two codecs, each of which gives as much as is allowed: both results would be held at once."""
    return zstd.compress(stored(bytes(CAP - 2**16)))


def sealed(frame: bytes, size: int, codecs: tuple[str, ...] = ("zstd",)) -> bytes:
    checksum = Checksum()
    tag = checksum.run_tag(SCOPE, bytes(4))
    header = EnvelopeHeader(0, bytes(4), tag, codecs, size).to_bytes()
    return checksum.sealer(SCOPE.tenant, tag, bytes(4)).seal(header, INLINE, frame)


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a gibibyte, declared": (lambda: sealed(zeros(HUGE), HUGE), "LimitExceeded"),
    "a gibibyte behind a small header": (lambda: sealed(zeros(HUGE), 1000), "LimitExceeded"),
    "a frame that lies": (lambda: sealed(forged_frame(2**28, 1000, 20), 1000), "FormatError"),
    "a frame that declares nothing": (
        lambda: sealed(
            zstd.compress(bytes(2**28), options={zstd.CompressionParameter.content_size_flag: 0}), CAP
        ),
        "LimitExceeded",
    ),
    "a window of 2 GiB": (lambda: sealed(forged_frame(CAP, CAP, 31), CAP), "FormatError"),
    "sixteen frames": (lambda: sealed(zeros(CAP) * 16, CAP), "FormatError"),
    "one in the other": (lambda: sealed(nested(), CAP - 2**16, ("zstd", "zstd")), "FormatError"),
    "255 codecs": (lambda: sealed(zeros(CAP), CAP, ("zstd",) * 255), "FormatError"),
    "as much as is allowed": (lambda: sealed(zeros(CAP), CAP), str(CAP)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_memory_stays_below_the_cap_and_some(bomb: str) -> None:
    make, expected = BOMBS[bomb]
    done = subprocess.run(
        [sys.executable, "-m", "tests.security.bomb_process"],
        input=make(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    outcome, growth = done.stdout.decode().split()
    _log.info(
        "%s: %s, %.1f MiB above a process that does nothing; allowed are %d",
        bomb,
        outcome,
        int(growth) / 2**20,
        (CAP + SPARE) >> 20,
    )
    assert outcome == expected
    assert int(growth) < CAP + SPARE


def test_an_object_found_in_the_store_went_through_as_many_codecs_as_it_said() -> None:
    """The place of what another writer stored was read without counting its codecs."""
    codecs = ("zstd-delta", *("zstd",) * 254)
    header = EnvelopeHeader(0, bytes(4), bytes(16), codecs, CAP, bases=(bytes(32),))
    with pytest.raises(FormatError, match="255 codecs"):
        CodecPipeline((Zstd(),), CAP).place(zeros(CAP), header)
