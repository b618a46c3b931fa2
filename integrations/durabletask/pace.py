"""A pace for what fails again and again, since a back end may hand out abandoned work at once."""

import threading
import time
from collections import OrderedDict
from typing import Final

_LONGEST: Final = 8.0
"""Seconds."""
_MOST: Final = 1024
"""Failures that are remembered: the latest ones."""


class Pace:
    """Delays the next attempt at something by the failures before it: not at all, then 1, 2, 4 and 8 seconds. Thread-safe."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, name: str) -> None:
        """Block this thread as long as the failures of ``name`` demand."""
        with self._lock:
            failures = self._failures.get(name, 0)
        if failures:
            time.sleep(min(2.0 ** (failures - 1), _LONGEST))

    def failed(self, name: str) -> None:
        """Count a failure."""
        with self._lock:
            self._failures[name] = self._failures.pop(name, 0) + 1
            if len(self._failures) > _MOST:
                self._failures.popitem(last=False)

    def succeeded(self, name: str) -> None:
        """Forget the failures of ``name``."""
        with self._lock:
            self._failures.pop(name, None)
