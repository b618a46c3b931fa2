"""References that this process has just written or read."""

from typing import Final

from blake3 import blake3

from coatcheck.runtime.clock import boottime
from coatcheck.runtime.forks import new_lock

_MAX_AGE: Final = 600.0
"""Seconds for which a reference is used again: far less than a sweep's shortest grace, which is a day."""
_MAX_COUNT: Final = 4096
"""References, of some 200 bytes each."""


class RecentReferences:
    """Finds the reference to a payload that was just written or read. Safe to use from several threads.

    DBOS serializes the result of a workflow once for the workflow, and again for everybody who asks for it.
    """

    def __init__(self) -> None:
        self._lock = new_lock()
        self._known: dict[bytes, tuple[bytes, float]] = {}

    def add(self, payload: bytes, reference: bytes) -> None:
        """Add a reference to a payload that is durable."""
        digest = blake3(payload).digest()
        with self._lock:
            self._known.pop(digest, None)
            self._known[digest] = reference, boottime()
            if len(self._known) > _MAX_COUNT:
                del self._known[next(iter(self._known))]

    def find(self, payload: bytes) -> bytes | None:
        """Return the reference to the same payload, of whatever run; None if none is known."""
        digest = blake3(payload).digest()
        with self._lock:
            reference, since = self._known.get(digest, (b"", 0.0))
        return reference if reference and boottime() - since <= _MAX_AGE else None
