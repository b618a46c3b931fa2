"""Metrics and spans, through OpenTelemetry's API; without an SDK in the process they go nowhere.

They reveal neither the content nor the owner of a payload: only counts, bytes, seconds, outcomes and error types, and
object ids in spans. Names and units follow OpenTelemetry's semantic conventions. ``docs/telemetry.md`` lists them.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

from opentelemetry import metrics, trace

from coatcheck._version import __version__


class Outcome(StrEnum):
    """The way in which a payload was encoded or decoded."""

    INLINE = "inline"
    """It is in the journal itself, sealed."""
    PASSED = "passed"
    """It was left unchanged: compression gains nothing, and the chain does not encrypt."""
    OFFLOADED = "offloaded"
    """It was stored whole."""
    DELTA = "delta"
    """It was stored as a delta."""
    FOUND = "found"
    """The store already had it."""
    KNOWN = "known"
    """It was known to be in the store, or it was cached: no request was made."""
    FETCHED = "fetched"
    """It was read from the store."""


_ENCODE: Final = {"coatcheck.direction": "encode"}
_DECODE: Final = {"coatcheck.direction": "decode"}

_NO_SPAN: Final[AbstractContextManager[object]] = nullcontext()

_meter = metrics.get_meter("coatcheck", __version__)
_tracer = trace.get_tracer("coatcheck", __version__)
_payloads = _meter.create_counter("coatcheck.payloads", "{payload}", "Payloads that passed a chain.")
_payload_size = _meter.create_counter("coatcheck.payload.io", "By", "Bytes of those payloads.")
_journal_size = _meter.create_counter(
    "coatcheck.journal.io", "By", "Bytes in the journal for those payloads."
)
_store_size = _meter.create_counter("coatcheck.store.io", "By", "Bytes written to and read from stores.")
_store_seconds = _meter.create_histogram(
    "coatcheck.store.duration", "s", "One call to a store, including retries and the wait in its queue."
)
_errors = _meter.create_counter("coatcheck.errors", "{error}", "Payloads that failed to encode or decode.")


def observe_cache(size: Callable[[], int], hits: Callable[[], int], misses: Callable[[], int]) -> None:
    """Register metrics of the process's cache. The functions are called whenever metrics are collected.

    Args:
        size: Returns the bytes of memory in use.
        hits: Returns the number of lookups that found a payload.
        misses: Returns the number of lookups that found none.
    """

    def reading(read: Callable[[], int]) -> Callable[[object], Sequence[metrics.Observation]]:
        return lambda _: [metrics.Observation(read())]

    _meter.create_observable_up_down_counter(
        "coatcheck.cache.size",
        [reading(size)],
        "By",
        "Memory used by the process's cache of opened payloads.",
    )
    _meter.create_observable_counter(
        "coatcheck.cache.hits", [reading(hits)], "{lookup}", "Payloads found in the cache."
    )
    _meter.create_observable_counter(
        "coatcheck.cache.misses", [reading(misses)], "{lookup}", "Payloads not found in the cache."
    )


def encoded(outcome: Outcome, payload: int, journal: int) -> None:
    """Count a payload that was encoded.

    Args:
        outcome: The way in which it was encoded.
        payload: Bytes of the payload.
        journal: Bytes that go into the journal.
    """
    _count(_ENCODE, outcome, payload, journal)


def decoded(outcome: Outcome, payload: int, journal: int) -> None:
    """Count a payload that was decoded.

    Args:
        outcome: The way in which it was decoded.
        payload: Bytes of the payload.
        journal: Bytes that were in the journal.
    """
    _count(_DECODE, outcome, payload, journal)


def _count(direction: dict[str, str], outcome: Outcome, payload: int, journal: int) -> None:
    _payloads.add(1, {**direction, "coatcheck.outcome": outcome.value})
    _payload_size.add(payload, direction)
    _journal_size.add(journal, direction)


class counting_errors:  # noqa: N801 - used as a function; a generator would cost ten times as much
    """Count errors while a payload is encoded or decoded.

    Args:
        direction: ``encode`` or ``decode``.
    """

    __slots__ = ("_direction",)

    def __init__(self, direction: str) -> None:
        self._direction = direction

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            _errors.add(1, {"coatcheck.direction": self._direction, "error.type": type(error).__name__})


def span(name: str, **attributes: str | int) -> AbstractContextManager[object]:
    """Return a span for work on one payload that involves a store.

    Args:
        name: ``encode`` or ``decode``; the span's name without its prefix.
        **attributes: The span's attributes without their prefix.
    """
    if _is_nobody_tracing():
        return _NO_SPAN
    named = {f"coatcheck.{key}": value for key, value in attributes.items()}
    return _tracer.start_as_current_span(f"coatcheck {name}", attributes=named)


class StoreCall:
    """Measures one call to a store, including retries, in a span.

    Args:
        operation: ``create``, ``get``, ...
        store: The store; only its type is recorded.
    """

    __slots__ = ("_attributes", "_begin", "_span", "size")

    def __init__(self, operation: str, store: object) -> None:
        self._attributes = {"coatcheck.operation": operation, "coatcheck.store": type(store).__name__}
        self._span = _NO_SPAN
        self._begin = 0.0
        self.size = 0
        """Bytes that were transferred; set by the caller."""

    def __enter__(self) -> Self:
        if not _is_nobody_tracing():
            name = f"coatcheck store {self._attributes['coatcheck.operation']}"
            self._span = _tracer.start_as_current_span(
                name, kind=trace.SpanKind.CLIENT, attributes=self._attributes
            )
        self._span.__enter__()
        self._begin = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._begin
        self._span.__exit__(kind, error, traceback)
        if error is None:
            _store_seconds.record(seconds, self._attributes)
            _store_size.add(self.size, self._attributes)
        else:
            _store_seconds.record(seconds, {**self._attributes, "error.type": type(error).__name__})


def _is_nobody_tracing() -> bool:
    """Return True if the process has no SDK for traces: a span that goes nowhere would still take 4 microseconds."""
    return isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
