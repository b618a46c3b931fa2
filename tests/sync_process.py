"""A fresh process that uses a chain without awaiting: ``python -m tests.sync_process CASE``. For test_sync."""

import asyncio
import atexit
import json
import os
import signal
import sys
import threading
from collections.abc import Callable

from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, PayloadCache, Reference, Scope, Zstd
from coatcheck.settings.registry import open_store
from tests.chains import KEY, SCOPE

LARGE = os.urandom(100_000)


class Silent(MemoryStore):
    """Never answers."""

    async def create(self, key: str, data: bytes) -> bool:
        say("begun")
        try:
            await asyncio.Event().wait()
        finally:
            say("cancelled")
        return True


def say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def new_chain(store: MemoryStore | None = None) -> Chain:
    named = os.environ.get("STORE")
    chosen = store or (open_store(named) if named else MemoryStore())
    return Chain(
        Zstd(), Encrypt(Keyring(KEY)), Offload(chosen, over=2048, deadline=60), cache=PayloadCache(2**24)
    )


def there_and_back(chain: Chain, data: bytes = LARGE, scope: Scope = SCOPE) -> bool:
    journal = chain.sync.encode(data, scope)
    chain.cache.clear()
    return len(journal) < 200 and chain.sync.decode(journal, scope) == data


def ends_without_close() -> None:
    say(str(there_and_back(new_chain())))


def ends_while_a_thread_waits() -> None:
    chain = new_chain(Silent())
    threading.Thread(target=chain.sync.encode, args=(LARGE, SCOPE), daemon=True).start()
    signal.sigtimedwait([signal.SIGUSR1], 30)  # the parent has seen that it has begun


def is_interrupted() -> None:
    chain = new_chain(Silent())
    try:
        chain.sync.encode(LARGE, SCOPE)
    except KeyboardInterrupt:
        say("interrupted")
    say(str(there_and_back(new_chain())))


def is_interrupted_and_ends() -> None:
    new_chain(Silent()).sync.encode(LARGE, SCOPE)


def goes_on_after_the_main_thread() -> None:
    chain = new_chain()

    def work() -> None:
        threading.main_thread().join()
        try:
            say(str(there_and_back(chain)))
        except Exception as error:  # noqa: BLE001 - whatever it is
            say(f"{type(error).__name__}: {error}")

    threading.Thread(target=work).start()


def is_used_as_the_interpreter_ends() -> None:
    chain = new_chain()

    def work() -> None:
        try:
            say(str(there_and_back(chain)))
        except Exception as error:  # noqa: BLE001 - whatever it is
            say(f"{type(error).__name__}: {error}")

    # What was registered first runs last: after coatcheck has ended its own loop.
    atexit.register(work)
    assert there_and_back(chain, LARGE[1:])


def begins_no_thread() -> None:
    """Calls without I/O are answered in the calling thread: no other one is ever started."""
    chain = new_chain()
    known = LARGE[:20_000]
    journal, reference = asyncio.run(_used(chain, known))

    def work() -> None:
        sync, small = chain.sync, b"small"
        assert sync.decode(sync.encode(small, SCOPE), SCOPE) == small
        assert sync.open(sync.encode(small, SCOPE, inline=True), SCOPE) == small
        assert sync.encode(b"a" * 40_000, SCOPE) != b"a" * 40_000  # small once it is compressed
        assert sync.encode(known, SCOPE) == journal
        assert sync.decode(journal, SCOPE) == known
        assert sync.put(known, SCOPE) == reference
        assert sync.open_reference(reference, SCOPE) == known
        sync.load_keys(SCOPE.tenant)
        with sync.holding_keys(SCOPE.tenant):
            assert sync.decode(journal, SCOPE) == known

    async def in_a_loop() -> None:
        work()

    work()
    asyncio.run(in_a_loop())
    say(json.dumps(sorted(thread.name for thread in threading.enumerate())))


async def _used(chain: Chain, known: bytes) -> tuple[bytes, Reference]:
    journal = await chain.encode(known, SCOPE)
    await chain.decode(journal, SCOPE)
    return journal, await chain.put(known, SCOPE)


def tells_spans() -> None:
    """The spans of a call belong to the caller's, in whichever thread they are."""
    from opentelemetry import trace  # noqa: PLC0415 - for this case alone
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: PLC0415

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    with trace.get_tracer("test").start_as_current_span("request"):
        assert there_and_back(new_chain())
        trace.get_tracer("test").start_span("after").end()
    spans = exporter.get_finished_spans()
    names = {span.context.span_id: span.name for span in spans if span.context}
    say(json.dumps([[span.name, names.get(span.parent.span_id) if span.parent else None] for span in spans]))


CASES: dict[str, Callable[[], None]] = {
    case.__name__: case
    for case in (
        ends_without_close,
        ends_while_a_thread_waits,
        is_interrupted,
        is_interrupted_and_ends,
        goes_on_after_the_main_thread,
        is_used_as_the_interpreter_ends,
        begins_no_thread,
        tells_spans,
    )
}

if __name__ == "__main__":
    # As a shell's own, whatever the test run's parent had set.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    CASES[sys.argv[1]]()
