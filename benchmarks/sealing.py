"""Cost of sealing, as a share of the chain.

``python -m benchmarks.sealing [--json PATH]``. The chain is ``Chain(Zstd(), Encrypt(...), Offload(...))``; sealing is the work
of ``Encrypt`` on the compressed payload: salt, HKDF, AES-256-GCM and the commitment. ``encode`` and ``decode`` are whole
calls of the chain with a :class:`FileStore` on this machine's disk, the fastest durable store; ``computing`` is the
encode without a store, processor time only. Calls and seals take turns.
"""

import asyncio
import itertools
import statistics
import tempfile
from collections.abc import Iterator

from benchmarks.harness.command import arguments, show
from benchmarks.harness.records import Record, in_turn, median_ratio
from benchmarks.loads.computing import compute
from benchmarks.loads.data import payloads
from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, PayloadCache, Scope, Zstd
from coatcheck.format.envelope import EnvelopeHeader, object_context

ROUNDS = 25
SIZES = (1_000, 10_000, 100_000, 1_000_000)
BYTES_A_ROUND = 2_000_000
MOST_A_ROUND = 50
"""Most payloads of a round: each is synced to the disk."""
SCOPE = Scope("default", "workflow")


class OneSize:
    """The chain and its seal on the same payloads of one size."""

    def __init__(self, size: int, folder: str) -> None:
        self.size = size
        self.payloads = payloads(size, max(2, min(BYTES_A_ROUND // size, MOST_A_ROUND)))
        encrypt = Encrypt(Keyring(Key(bytes(32))))
        tag = encrypt.run_tag(SCOPE, encrypt.primary_key_id(SCOPE.tenant))
        self.sealer = encrypt.sealer(SCOPE.tenant, tag, encrypt.primary_key_id(SCOPE.tenant))
        self.header = EnvelopeHeader(1, encrypt.primary_key_id(SCOPE.tenant), tag, ("zstd",), size).to_bytes()
        self.context = object_context(bytes(32))
        self.frames = [Zstd().encode(payload) or payload for payload in self.payloads]
        self.sealed = [
            memoryview(self.sealer.seal(self.header, self.context, frame))[len(self.header) :]
            for frame in self.frames
        ]
        self.chain = Chain(Zstd(), encrypt, Offload(FileStore(folder), over=0), cache=PayloadCache(0))
        self.loop = asyncio.new_event_loop()
        # Each round is a run of its own: objects stored in a scope are known there.
        self.runs = (Scope("default", f"{size}-{number}") for number in itertools.count())
        self.journals = self._encoded()

    def _encoded(self) -> tuple[Scope, list[bytes]]:
        scope = next(self.runs)

        async def one_by_one() -> list[bytes]:
            return [await self.chain.encode(payload, scope) for payload in self.payloads]

        return scope, self.loop.run_until_complete(one_by_one())

    def seal(self) -> None:
        """Seal, as an encode does."""
        for frame in self.frames:
            self.sealer.seal(self.header, self.context, frame)

    def open(self) -> None:
        """Open, as a decode does."""
        for sealed in self.sealed:
            self.sealer.open(self.header, self.context, sealed)

    def compute(self) -> None:
        """Encode without the store."""
        scope = next(self.runs)
        for payload in self.payloads:
            compute(self.chain, payload, scope)

    def encode(self) -> None:
        """Encode one after the other, each durable before the next."""
        self._encoded()

    def decode(self) -> None:
        """Decode one after the other, with none of them in memory."""
        scope, journals = self.journals
        self.loop.run_until_complete(self._decoded(journals, scope))

    async def _decoded(self, journals: list[bytes], scope: Scope) -> None:
        for journal in journals:
            await self.chain.decode(journal, scope)

    def records(self) -> Iterator[Record]:
        """Measure, and yield the figures."""
        seal, computing, encode = in_turn(ROUNDS, self.seal, self.compute, self.encode)
        opening, decode = in_turn(ROUNDS, self.open, self.decode)
        case = f"{self.size // 1000} KB"
        each = 1e6 / len(self.payloads)
        yield Record(case, "seal", statistics.median(seal) * each, "us")
        yield Record(case, "open", statistics.median(opening) * each, "us")
        yield Record(case, "encode", statistics.median(encode) * each, "us")
        yield Record(case, "decode", statistics.median(decode) * each, "us")
        yield Record(case, "share_of_encode", 100 * median_ratio(seal, encode), "%")
        yield Record(case, "share_of_decode", 100 * median_ratio(opening, decode), "%")
        yield Record(case, "share_of_computing", 100 * median_ratio(seal, computing), "%")
        self.loop.run_until_complete(self.chain.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


def main() -> None:
    """Run the benchmark."""
    options = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        show((record for size in SIZES for record in OneSize(size, folder).records()), options)


if __name__ == "__main__":
    main()
