"""A process in which marked payloads pass a chain, on ways that work and on ways that fail; for test_canary.

``python -m tests.security.canary_process FOLDER``: everything is kept below FOLDER. Prints all that a process tells: what is
logged at every level, errors with their tracebacks, ``repr`` of what there is, metrics and spans, and every file that was
opened for writing, by path.
"""

import asyncio
import json
import logging
import os
import sys
import traceback
from collections.abc import Awaitable
from pathlib import Path
from random import Random

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from coatcheck import (
    CachedStore,
    Chain,
    Checkpoints,
    CoatcheckError,
    Encrypt,
    FileStore,
    Keyring,
    Offload,
    PayloadCache,
    Scope,
    Zstd,
)
from coatcheck.runtime.concurrency import all_at_once
from tests.chains import KEY, OTHER_KEY

PAYLOAD_MARK = "Xyzzy-Payload-Canary-"
TENANT_MARK = "Xyzzy-Tenant-Canary-"
RUN_MARK = "Xyzzy-Run-Canary-"
_SCOPE = Scope(f"{TENANT_MARK}1", f"{RUN_MARK}1")
_ELSEWHERE = Scope(f"{TENANT_MARK}2", f"{RUN_MARK}2")

_written: set[str] = set()


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        flags = arguments[2]
        # One that is relative to an open folder is told in full by _opened.
        path = os.fsdecode(arguments[0])
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR) and Path(path).is_absolute():
            _written.add(path)


_open = os.open


def _opened(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    descriptor = _open(path, flags, mode, dir_fd=dir_fd)
    if flags & (os.O_WRONLY | os.O_RDWR):
        _written.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    return descriptor


def _payload(size: int, seed: int) -> bytes:
    """Marked all over; half of it does not compress."""
    draw = Random(seed)
    return b"".join(PAYLOAD_MARK.encode() + draw.randbytes(len(PAYLOAD_MARK)) for _ in range(size // 42))


def _chain(folder: Path, keyring: Keyring, max_payload: int = 2**24) -> Chain:
    store = CachedStore(FileStore(folder / "store"), folder / "disk-cache")
    offload = Offload(store, over=500, deadline=20.0)
    return Chain(Zstd(), Encrypt(keyring), offload, max_payload=max_payload, cache=PayloadCache(0))


async def _fails(attempt: Awaitable[object]) -> None:
    """What is told of an error, as a process that dies of it and one that logs it would tell."""
    try:
        await attempt
    except CoatcheckError as error:
        traceback.print_exc(file=sys.stdout)
        logging.getLogger("application").exception("failed")
        sys.stdout.write(f"{error!s} {error!r} {error.args!r} {error.__cause__!r} {error.__context__!r}\n")
    else:
        raise AssertionError("must fail")


async def _use(folder: Path) -> None:
    chain = _chain(folder, Keyring(KEY))
    sizes = (60, 3_000, 60_000, 400_000)
    payloads = [_payload(size, seed) for seed, size in enumerate(sizes)]
    payloads.append(payloads[-1] + _payload(2_000, 9))
    journals = [await chain.encode(payload, _SCOPE) for payload in payloads]
    cold = _chain(folder, Keyring(KEY))
    assert await all_at_once(cold.decode(journal, _SCOPE) for journal in journals) == payloads
    checkpoints = Checkpoints(chain, run=f"{RUN_MARK}1", tenant=_SCOPE.tenant)
    await checkpoints.save({"state": PAYLOAD_MARK * 400}, step=1)
    await checkpoints.restore()
    for journal in journals:
        await _fails(chain.open(journal, _ELSEWHERE))
        await _fails(chain.open(journal[:-1] + bytes([journal[-1] ^ 1]), _SCOPE))
        await _fails(_chain(folder, Keyring(OTHER_KEY)).open(journal, _SCOPE))
    await _fails(_chain(folder, Keyring(KEY), max_payload=50).encode(payloads[1], _SCOPE))
    await _fails(_chain(folder, Keyring(KEY), max_payload=50).open(journals[1], _SCOPE))
    for path in sorted((folder / "store").rglob("*")):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1] + b"!")
    for path in sorted((folder / "disk-cache").rglob("*")):
        if path.is_file():
            path.unlink()
    await _fails(_chain(folder, Keyring(KEY)).open(journals[-1], _SCOPE))
    for path in sorted((folder / "store").rglob("*")):
        if path.is_file():
            path.unlink()
    await _fails(_chain(folder, Keyring(KEY)).open(journals[-1], _SCOPE))
    # Written once more, so that there is something to look through.
    again = _chain(folder, Keyring(KEY))
    await all_at_once(again.encode(payload, _SCOPE) for payload in payloads)
    sys.stdout.write(f"{chain!r} {Keyring(KEY)!r} {KEY!r}\n")


def main() -> None:
    folder = Path(sys.argv[1])
    sys.addaudithook(_watch)
    os.open = _opened  # type: ignore[assignment]
    logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
    reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
    metrics.set_meter_provider(MeterProvider([reader]))
    tracing = TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(tracing)
    asyncio.run(_use(folder), debug=True)
    found = reader.get_metrics_data()
    assert found is not None
    sys.stdout.write(found.to_json())
    sys.stdout.writelines(span.to_json() for span in exporter.get_finished_spans())
    sys.stdout.write("\n" + json.dumps(sorted(_written)))


if __name__ == "__main__":
    main()
