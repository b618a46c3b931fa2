"""A process with OpenTelemetry's SDK, in which payloads pass a chain; prints what was measured. For test_telemetry."""

import asyncio
import json
import secrets
import sys

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from coatcheck import Chain, CoatcheckError, Encrypt, Key, Keyring, MemoryStore, Offload, Scope, Zstd
from coatcheck.runtime.concurrency import all_at_once

CANARY = "xyzzy-canary"
SCOPE = Scope("tenant-canary", "run-canary")


async def _use() -> None:
    keyring, store = Keyring(Key.generate()), MemoryStore()
    chain, other = (Chain(Zstd(), Encrypt(keyring), Offload(store)) for _ in range(2))
    first = (CANARY + secrets.token_hex(20_000)).encode()
    small, large = await all_at_once(chain.encode(payload, SCOPE) for payload in [CANARY.encode(), first])
    grown = await chain.encode(first + b"and more", SCOPE)
    await chain.encode(first, SCOPE)
    await other.encode(first, SCOPE)
    for journal in (small, large, grown):
        await chain.decode(journal, SCOPE)
    chain.cache.clear()
    await chain.decode(large, SCOPE)
    for bad in (large[:-1] + bytes([large[-1] ^ 1]), small[:-1]):
        try:
            await chain.decode(bad, SCOPE)
        except CoatcheckError:
            pass
        else:
            raise AssertionError("must be refused")


def main() -> None:
    reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
    metrics.set_meter_provider(MeterProvider([reader]))
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(tracing)
    asyncio.run(_use())
    found = reader.get_metrics_data()
    spans = [json.loads(span.to_json()) for span in exporter.get_finished_spans()]
    sys.stdout.write(json.dumps({"metrics": json.loads(found.to_json()) if found else None, "spans": spans}))


if __name__ == "__main__":
    main()
