"""Metrics for Prometheus. No label contains a namespace, a subject, or other text chosen by a caller."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one application. Safe to use from any thread.

    Args:
        in_flight: Returns the bytes that payloads take now.
    """

    def __init__(self, in_flight: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "coatcheck_codec_requests",
            "Requests answered, by action and HTTP status.",
            ["action", "status"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "coatcheck_codec_request_seconds",
            "Seconds from the head of a request to its answer.",
            ["action"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.payloads = Counter(
            "coatcheck_codec_payloads",
            "Payloads in answers.",
            ["action"],
            registry=self._registry,
        )
        self.response_bytes = Counter(
            "coatcheck_codec_response_bytes",
            "Bytes of the bodies of answers.",
            ["action"],
            registry=self._registry,
        )
        self.in_progress = Gauge(
            "coatcheck_codec_requests_in_progress",
            "Requests being read or processed.",
            registry=self._registry,
        )
        self.placeholders = Counter(
            "coatcheck_codec_placeholders",
            "Payloads that could not be decoded and were replaced by a placeholder, by the type of the error.",
            ["error"],
            registry=self._registry,
        )
        self.refused_origins = Counter(
            "coatcheck_codec_refused_origins",
            "Requests from pages that serve.origins does not list.",
            registry=self._registry,
        )
        Gauge(
            "coatcheck_codec_bytes_in_flight",
            "Bytes of payloads being decoded or sent.",
            registry=self._registry,
        ).set_function(in_flight)

    def to_text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)
