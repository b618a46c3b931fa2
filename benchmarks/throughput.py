"""Speed of the chain, compared with the speed of its parts.

``python -m benchmarks.throughput [--rounds N] [--json [PATH]] [--plot PATH]``. The parts are zstd-3 and the seal (salt, HKDF,
AES-256-GCM), called one after the other in a loop; the chain is ``Chain(Zstd(), Encrypt(...), Offload(...))`` with a store
that keeps nothing, so that no disk is measured. The payloads have nothing in common. The chain encodes them one at a time
on one thread, each as the first of its run (``ratio``: the chain's speed as a share of its parts' speed) and in a run that
has stored another payload, so that it searches for a base in vain (``ratio_searching``); and all at once on an event loop
(``ratio_loop``: with calls in threads, on several cores). Speeds are by processor time of the thread, those of the loop by
wall time. ``compress-only`` is zlib at its default level, one payload after the other, as in the codec that teams write
first: no encryption, no store.
"""

import asyncio
import itertools
import statistics
import time
import zlib
from collections.abc import Iterator

from benchmarks.charting.ways import COMPRESS_ONLY
from benchmarks.harness import targets
from benchmarks.harness.command import arguments, show
from benchmarks.harness.records import Record, in_turn, median_ratio, values
from benchmarks.loads.computing import compute
from benchmarks.loads.data import payloads, transcript
from coatcheck import Chain, Encrypt, Key, Keyring, MemoryStore, Offload, PayloadCache, Scope, Zstd
from coatcheck.format.envelope import EnvelopeHeader, object_context
from coatcheck.runtime.concurrency import all_at_once

SCOPE, SEARCHED = Scope("default", "workflow"), Scope("default", "searched")
SIZES = (1_000, 10_000, 100_000, 1_000_000)
BYTES_A_ROUND = 4_000_000


class Discard(MemoryStore):
    """A store that accepts everything, and keeps objects only while ``keeps`` is True."""

    keeps = True

    async def create(self, key: str, data: bytes) -> bool:
        """See :meth:`Store.create`."""
        return await super().create(key, data) if self.keeps else True


class OneSize:
    """The parts and the chain on the same payloads of one size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.payloads = payloads(size, max(2, BYTES_A_ROUND // size))
        self.zstd = Zstd(level=3)
        encrypt = Encrypt(Keyring(Key(bytes(32))))
        tag = encrypt.run_tag(SCOPE, encrypt.primary_key_id(SCOPE.tenant))
        self.sealer = encrypt.sealer(SCOPE.tenant, tag, encrypt.primary_key_id(SCOPE.tenant))
        self.header = EnvelopeHeader(1, encrypt.primary_key_id(SCOPE.tenant), tag, ("zstd",), size).to_bytes()
        self.context = object_context(bytes(32))
        self.store = Discard()
        self.chain = Chain(self.zstd, encrypt, Offload(self.store, over=1024), cache=PayloadCache(0))
        # Each round is a run of its own: objects stored in a scope are known there.
        self.runs = (Scope("default", f"workflow-{n}") for n in itertools.count())
        self.loop = asyncio.new_event_loop()
        self.frames = [self.zstd.encode(payload) or payload for payload in self.payloads]
        self.sealed = [self.sealer.seal(self.header, self.context, frame) for frame in self.frames]
        self.compressed = [zlib.compress(payload) for payload in self.payloads]
        self.journal = self.loop.run_until_complete(
            all_at_once(self.chain.encode(payload, SCOPE) for payload in self.payloads)
        )
        self.store.keeps = False
        self.loop.run_until_complete(self.chain.encode(transcript()[-100_000:], SEARCHED))

    def encode_parts(self) -> None:
        """zstd, then the seal."""
        for payload in self.payloads:
            self.sealer.seal(self.header, self.context, self.zstd.encode(payload) or payload)

    def compress(self) -> None:
        """Compress as the compress-only codec does."""
        for payload in self.payloads:
            zlib.compress(payload)

    def decompress(self) -> None:
        """Decompress as the compress-only codec does."""
        for compressed in self.compressed:
            zlib.decompress(compressed)

    def name_payloads(self) -> None:
        """Compute the object ids, which the parts do not need."""
        for payload in self.payloads:
            self.sealer.object_id(payload)

    def encode_chain(self) -> None:
        """Encode one after the other, without an event loop: all computation of the chain."""
        scope = next(self.runs)
        for payload in self.payloads:
            compute(self.chain, payload, scope)

    def encode_searching(self) -> None:
        """Encode in the same way, in a run that has a possible base."""
        for payload in self.payloads:
            compute(self.chain, payload, SEARCHED)

    def encode_loop(self) -> None:
        """Encode all at once, as a worker does."""
        self.loop.run_until_complete(
            all_at_once(self.chain.encode(payload, next(self.runs)) for payload in self.payloads)
        )

    def decode_parts(self) -> None:
        """Decrypt, then decompress."""
        for sealed in self.sealed:
            body = self.sealer.open(self.header, self.context, memoryview(sealed)[len(self.header) :])
            self.zstd.decode(body, self.size)

    def decode_loop(self) -> None:
        """Decode all at once, as a worker does."""
        self.loop.run_until_complete(
            all_at_once(self.chain.decode(payload, SCOPE) for payload in self.journal)
        )

    def records(self, rounds: int) -> Iterator[Record]:
        """Measure, and yield the figures."""
        parts, zlib_encoded, names, chain, searching = in_turn(
            rounds,
            self.encode_parts,
            self.compress,
            self.name_payloads,
            self.encode_chain,
            self.encode_searching,
            clock=time.thread_time,
        )
        beside_loop, loop = in_turn(rounds, self.encode_parts, self.encode_loop)
        opened, zlib_decoded, decoded = in_turn(rounds, self.decode_parts, self.decompress, self.decode_loop)
        total = self.size * len(self.payloads) / 1e6
        case = f"{self.size // 1000} KB" if self.size < 1_000_000 else f"{self.size // 1_000_000} MB"
        yield Record(f"{case} parts", "encode", total / statistics.median(parts), "MB/s")
        yield Record(f"{case} {COMPRESS_ONLY}", "encode", total / statistics.median(zlib_encoded), "MB/s")
        yield Record(f"{case} {COMPRESS_ONLY}", "decode", total / statistics.median(zlib_decoded), "MB/s")
        yield Record(f"{case} coatcheck", "object_ids", total / statistics.median(names), "MB/s")
        yield Record(f"{case} coatcheck", "encode", total / statistics.median(chain), "MB/s")
        yield Record(f"{case} coatcheck", "ratio", median_ratio(parts, chain), "of the parts")
        yield Record(f"{case} coatcheck", "ratio_searching", median_ratio(parts, searching), "of the parts")
        yield Record(f"{case} coatcheck", "encode_loop", total / statistics.median(loop), "MB/s")
        yield Record(f"{case} coatcheck", "ratio_loop", median_ratio(beside_loop, loop), "of the parts")
        yield Record(f"{case} parts", "decode", total / statistics.median(opened), "MB/s")
        yield Record(f"{case} coatcheck", "decode_loop", total / statistics.median(decoded), "MB/s")
        yield Record(
            f"{case} coatcheck",
            "decode_ratio_loop",
            median_ratio(opened, decoded),
            "of the parts",
        )
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


def main() -> None:
    """Run."""
    parser = arguments(__doc__, chart="throughput")
    parser.add_argument("--rounds", type=int, default=25, help="how often; the medians are shown (25)")
    options = parser.parse_args()
    records = [record for size in SIZES for record in OneSize(size).records(options.rounds)]
    show(records, options, targets.throughput(values(records)))


if __name__ == "__main__":
    main()
