"""The bytes that a chain keeps out of checkpoints, where each byte that is written is billed."""

import logging
from typing import Final

from opentelemetry import metrics

from coatcheck._version import __version__
from coatcheck.runtime.forks import new_lock

_log = logging.getLogger("coatcheck.aws_durable")
_meter: Final = metrics.get_meter("coatcheck", __version__)
_values = _meter.create_counter(
    "coatcheck.aws_durable.values", "{value}", "Values that were written to checkpoints."
)
_plain = _meter.create_counter(
    "coatcheck.aws_durable.plain.io", "By", "Bytes of these values as the SDK would have written them."
)
_written = _meter.create_counter(
    "coatcheck.aws_durable.checkpoint.io", "By", "Bytes that were written in their place."
)


class Savings:
    """The values that one invocation wrote to checkpoints. Safe to use from several threads.

    Args:
        execution: The ARN of the durable execution.
    """

    def __init__(self, execution: str) -> None:
        self.execution = execution
        self.values = 0
        """Values, also those of which no checkpoint came about."""
        self.plain = 0
        """Bytes of these values as the SDK would have written them."""
        self.written = 0
        """Bytes that were written in their place."""
        self.inline = 0
        """Values that went into a checkpoint themselves since the store did not take them."""
        self._lock = new_lock()

    def __repr__(self) -> str:
        return f"{self.values} values, {self.written} bytes in place of {self.plain}, {self.inline} not taken by the store"

    def add(self, plain: int, written: int) -> None:
        """Count a value of ``plain`` bytes in whose place ``written`` bytes go into a checkpoint."""
        _values.add(1)
        _plain.add(plain)
        _written.add(written)
        with self._lock:
            self.values += 1
            self.plain += plain
            self.written += written

    def not_taken(self) -> None:
        """Count a value that the store did not take."""
        with self._lock:
            self.inline += 1

    def report(self) -> None:
        """Log the sums, at the end of the invocation."""
        if self.values:
            _log.info("execution %s: %r", self.execution, self)
