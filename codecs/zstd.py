"""Compression by Zstandard (RFC 8878), whole or as a delta against an earlier payload."""

import sys
import threading
from dataclasses import dataclass
from io import BytesIO

from coatcheck.contracts import DeltaCodec
from coatcheck.errors import ConfigError, FormatError, LimitExceeded

if sys.version_info >= (3, 14):
    from compression import zstd as zstd  # noqa: PLC0414 - tests take it from here
else:
    from backports import zstd as zstd  # noqa: PLC0414

_MAX_WINDOW_LOG = 27
"""A frame that asks for a window above 128 MiB is refused: RFC 8878, section 3.1.1.1.2 leaves that to readers."""
_LONG_DISTANCE_ABOVE = 960 * 1024
"""Bytes of a base above which Zstandard's ordinary match finder loses sight of it (measured: at 1.2 MB a delta grew
from 1.9 to 39 KB without long-distance matching; at 1.0 MB it gained 1%, at half the speed)."""
_FAST_UP_TO = 3
"""Level up to which deltas use the plainest search: nearly all of a payload that resembles its base is one long match,
which any search finds (measured on conversations: 1.4 times as fast as level 3's own, 4-5% larger)."""
_AT_ONCE = 2**20
"""Bytes of a payload from which it is decompressed in pieces, for the sake of memory."""
_PIECE = 2**18
"""Bytes; measured: larger ones are slower."""
_SMALLEST_PREFIX = 8
"""Bytes that Zstandard wants of a prefix at the least."""

_DAMAGED = "It was damaged before it was sealed, or written by something else under the same codec name."


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
    """Compress with Zstandard, and leave payloads alone that do not get smaller.

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
        """One frame with its content size declared; ``None`` if that is not smaller than ``data``."""
        compressor = _compressors.at(self.level)
        frame = compressor.compress(data, compressor.FLUSH_FRAME)
        return frame if len(frame) < len(data) else None

    def decode(self, data: bytes | memoryview, limit: int) -> bytes:
        """See :meth:`Codec.decode`. The cap is enforced while decompressing, whatever the frame declares."""
        return _decompress(data, limit, None)

    def encode_delta(self, data: bytes, base: bytes) -> bytes | None:
        """One frame with a checksum, whose prefix is ``base``; ``None`` where both exceed 128 MiB or ``base`` is tiny."""
        window_log = (len(data) + len(base)).bit_length()
        if len(base) < _SMALLEST_PREFIX or window_log > _MAX_WINDOW_LOG:
            return None
        parameter = zstd.CompressionParameter
        options: dict[int, int] = {
            parameter.compression_level: self.level,
            parameter.window_log: max(window_log, parameter.window_log.bounds()[0]),
            parameter.enable_long_distance_matching: int(len(base) > _LONG_DISTANCE_ABOVE),
            parameter.checksum_flag: 1,
        }
        if self.level <= _FAST_UP_TO:
            options[parameter.strategy] = zstd.Strategy.fast
        compressor = zstd.ZstdCompressor(options=options, zstd_dict=_prefix(base))
        return compressor.compress(data, compressor.FLUSH_FRAME)

    def decode_delta(self, data: bytes | memoryview, base: bytes, limit: int) -> bytes:
        """See :meth:`DeltaCodec.decode_delta`."""
        return _decompress(data, limit, _prefix(base))


def _prefix(base: bytes) -> tuple[zstd.ZstdDict, int]:
    return zstd.ZstdDict(base, is_raw=True).as_prefix


def _decompress(data: bytes | memoryview, limit: int, prefix: tuple[zstd.ZstdDict, int] | None) -> bytes:
    try:
        declared = zstd.get_frame_info(data).decompressed_size
        if declared is None or declared > limit:
            raise LimitExceeded(
                f"a compressed payload declares {declared} bytes where {limit} were allowed", _DAMAGED
            )
        decompressor = zstd.ZstdDecompressor(
            zstd_dict=prefix, options={zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG}
        )
        out = _drain(decompressor, data, declared)
    except zstd.ZstdError as error:
        raise FormatError(f"malformed Zstandard frame: {str(error).rstrip('.')}", _DAMAGED) from error
    if not decompressor.eof or decompressor.unused_data:
        raise FormatError("malformed Zstandard frame: it is cut off, or something follows it", _DAMAGED)
    return out


def _drain(decompressor: zstd.ZstdDecompressor, data: bytes | memoryview, declared: int) -> bytes:
    """At most the ``declared`` bytes and one more, which tells a frame that fits from one that does not."""
    if declared < _AT_ONCE:
        return decompressor.decompress(data, max_length=declared + 1)
    piece = decompressor.decompress(data, max_length=_PIECE)
    # In pieces, into a buffer that has its size from the start and is given away as it is: what the decompressor
    # collects by itself is joined in the end, and takes twice the memory.
    out = BytesIO()
    out.seek(declared - 1)
    out.write(b"\0")
    out.seek(0)
    while out.write(piece) and not decompressor.eof:
        piece = decompressor.decompress(b"", max_length=min(declared + 1 - out.tell(), _PIECE))
    out.truncate()
    return out.getvalue()
