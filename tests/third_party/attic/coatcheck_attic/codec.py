"""Compression by zlib (RFC 1950)."""

import zlib
from dataclasses import dataclass

from coatcheck.contracts.codec import Codec
from coatcheck.errors import FormatError, LimitExceeded


@dataclass(frozen=True, slots=True)
class AtticZlib(Codec):
    """Compresses with zlib what gets smaller by it."""

    level: int = 6

    name = "attic-zlib"

    def encode(self, data: bytes) -> bytes | None:
        compressed = zlib.compress(data, self.level)
        return compressed if len(compressed) < len(data) else None

    def decode(self, data: bytes | memoryview, limit: int) -> bytes:
        decompressor = zlib.decompressobj()
        try:
            plain = decompressor.decompress(data, limit + 1)
        except zlib.error as error:
            raise FormatError(f"malformed zlib stream: {error}", "Restore the original bytes.") from error
        if len(plain) > limit:
            raise LimitExceeded(f"there are more than {limit} bytes", "Restore the original bytes.")
        if not decompressor.eof or decompressor.unused_data:
            raise FormatError(
                "the zlib stream is cut off, or something follows it", "Restore the original bytes."
            )
        return plain
