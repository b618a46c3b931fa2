"""Compression by Zstandard (RFC 8878), whole or as a delta against an earlier payload.

Two bindings of one library, since neither does both well: the standard library's compresses against a prefix, which is
half the work of a dictionary, and ``zstandard`` decompresses into one buffer of the declared size, where the standard
library's writes everything three times (measured: deltas decode 1.5 times as fast).
"""

import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

from coatcheck.contracts.codec import DeltaCodec
from coatcheck.errors import ConfigError, FormatError, LimitExceeded

if sys.version_info >= (3, 14):
    from compression import zstd as zstd  # noqa: PLC0414 - tests take it from here
else:
    from backports import zstd as zstd  # noqa: PLC0414

_MAX_WINDOW_LOG = 27
"""Largest window: frames that ask for more than 128 MiB are refused (RFC 8878, section 3.1.1.1.2, leaves it to readers)."""
_LONG_DISTANCE_ABOVE = 1280 * 1024
"""Bytes of a base above which long-distance matching finds what the search itself overlooks (measured on states that
change all over: 15% smaller at 1.5 MB, 10% at 1.2 MB, each time at half the speed)."""
_FAST_UP_TO = 3
"""Level up to which deltas use the plainest search: nearly all of a payload that resembles its base is one long match,
which any search finds (measured on conversations: 1.4 times as fast as level 3's own, 4-5% larger)."""
_FAST_HASH_LOG = 15
"""Table of the plainest search: 128 KiB, set up anew for each delta and small enough for a core's own cache (measured
against twice that: 2-5% faster, 1-2% larger on conversations and states, 6% on numbers)."""
_FAST_MIN_MATCH = 6
"""Bytes (measured: 1-9% smaller than level 3's 5 on text and numbers, since fewer poor matches are taken)."""
_OVERLOOKED_ABOVE = 1 / 16
"""Share of a payload. A delta that is larger is tried once more with long-distance matching: in text of few words the
plainest search takes the nearest of many matches, and never meets the long one (measured on logs of five words: 36 KB
where 2 KB do, of 250 KB)."""
_SMALLEST_PREFIX = 8
"""Smallest prefix that Zstandard uses, in bytes."""

_DAMAGED = "It was damaged before it was sealed, or another codec with the same name wrote it."


class _Compressors(threading.local):
    """One compressor a level and thread: setting one up costs as much as compressing 5 KB."""

    def __init__(self) -> None:
        self.by_level: dict[int, zstd.ZstdCompressor] = {}

    def at(self, level: int) -> zstd.ZstdCompressor:
        if level not in self.by_level:
            self.by_level[level] = zstd.ZstdCompressor(level=level)
        return self.by_level[level]


_compressors = _Compressors()


@dataclass(frozen=True, slots=True)
class Zstd(DeltaCodec):
    """Compress with Zstandard; payloads that do not get smaller stay as they are.

    Args:
        level: 1 (fastest) to 22 (smallest). 3 compresses 250-400 MB/s a core at a ratio of about 3 on text.

    Raises:
        ConfigError: ``level`` is out of range.
    """

    level: int = 3

    name = "zstd"
    delta_name = "zstd-delta"

    def __post_init__(self) -> None:
        lowest, highest = 1, zstd.CompressionParameter.compression_level.bounds()[1]
        if not lowest <= self.level <= highest:
            raise ConfigError(
                f"Zstandard has no level {self.level}", f"Choose {lowest} (fastest) to {highest} (smallest)."
            )

    def encode(self, data: bytes) -> bytes | None:
        """Return one frame that declares its content size; ``None`` if that is not smaller than ``data``."""
        compressor = _compressors.at(self.level)
        frame = compressor.compress(data, compressor.FLUSH_FRAME)
        return frame if len(frame) < len(data) else None

    def decode(self, data: bytes | memoryview, limit: int) -> bytes:
        """See :meth:`Codec.decode`. The cap is enforced while decompressing, whatever the frame declares."""
        return _decompress(data, limit, None)

    def encode_delta(self, data: bytes, base: bytes) -> bytes | None:
        """Return one frame whose prefix is ``base``, without a checksum: sealing authenticates it and its base.

        ``None`` where both exceed 128 MiB, ``base`` is tiny or ``data`` is empty.
        """
        parameter = zstd.CompressionParameter
        window_log = max((len(data) + len(base)).bit_length(), parameter.window_log.bounds()[0])
        if not data or len(base) < _SMALLEST_PREFIX or window_log > _MAX_WINDOW_LOG:
            return None
        delta = self._delta(data, base, window_log, long_distance=len(base) > _LONG_DISTANCE_ABOVE)
        if len(delta) <= _OVERLOOKED_ABOVE * len(data) or len(base) > _LONG_DISTANCE_ABOVE:
            return delta
        return min(delta, self._delta(data, base, window_log, long_distance=True), key=len)

    def _delta(self, data: bytes, base: bytes, window_log: int, *, long_distance: bool) -> bytes:
        parameter = zstd.CompressionParameter
        options: dict[int, int] = {
            parameter.compression_level: self.level,
            parameter.window_log: window_log,
            parameter.enable_long_distance_matching: int(long_distance),
        }
        if self.level <= _FAST_UP_TO:
            options |= {
                parameter.strategy: zstd.Strategy.fast,
                parameter.hash_log: _FAST_HASH_LOG,
                parameter.min_match: _FAST_MIN_MATCH,
            }
            if not long_distance:
                # This search has no chains; but of a prefix Zstandard looks only at the last 8 << chain_log bytes.
                options[parameter.chain_log] = window_log
        prefix = zstd.ZstdDict(base, is_raw=True).as_prefix
        compressor = zstd.ZstdCompressor(options=options, zstd_dict=prefix)
        return compressor.compress(data, compressor.FLUSH_FRAME)

    def decode_delta(self, data: bytes | memoryview, base: bytes, limit: int) -> bytes:
        """See :meth:`DeltaCodec.decode_delta`."""
        return _decompress(data, limit, base)

    def decode_deltas(
        self, whole: bytes | memoryview, deltas: Sequence[bytes | memoryview], limits: Sequence[int]
    ) -> bytes:
        """See :meth:`DeltaCodec.decode_deltas`. No payload in between is copied (measured: 0.8 of the time).

        What follows the end of a frame is not looked at.
        """
        frames = [bytes(whole), *map(bytes, deltas)]
        try:
            for frame, limit in zip(frames, limits, strict=True):
                _check(frame, limit)
            # A list of its own: to its type, one of bytes is not one of whatever it would take.
            return zstandard.ZstdDecompressor().decompress_content_dict_chain([*frames])
        except zstandard.ZstdError as error:
            raise _malformed(error) from error


def _decompress(data: bytes | memoryview, limit: int, base: bytes | None) -> bytes:
    """Return at most as many bytes as the frame declares; the decompressor stops there in any case."""
    prefix = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if base else None
    try:
        _check(data, limit)
        return zstandard.ZstdDecompressor(dict_data=prefix).decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise _malformed(error) from error


def _check(data: bytes | memoryview, limit: int) -> None:
    frame = zstandard.get_frame_parameters(data)
    if frame.content_size > limit:
        unknown = frame.content_size == zstandard.CONTENTSIZE_UNKNOWN
        raise LimitExceeded(
            f"a compressed payload declares {'an unknown number of' if unknown else frame.content_size} bytes "
            f"where {limit} were allowed",
            _DAMAGED,
        )
    if not frame.content_size or frame.window_size > 1 << _MAX_WINDOW_LOG:
        raise FormatError("malformed Zstandard frame: it is empty, or its window is too large", _DAMAGED)


def _malformed(error: zstandard.ZstdError) -> FormatError:
    return FormatError(f"malformed Zstandard frame: {str(error).rstrip('.')}", _DAMAGED)
