"""A rate limit for log lines about events that strangers can cause at will."""

import time
from typing import Final

_SECONDS: Final = 60.0
_SUBJECTS: Final = 100


class Seldom:
    """A limit of one log line a minute for each subject, and of a hundred subjects. For one event loop."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def is_due(self, subject: str) -> bool:
        """Return True, at most once a minute, if ``subject`` should be logged now."""
        now = time.monotonic()
        if now - self._told.get(subject, -_SECONDS) < _SECONDS:
            return False
        if len(self._told) >= _SUBJECTS:
            self._told = {other: told for other, told in self._told.items() if now - told < _SECONDS}
        if len(self._told) >= _SUBJECTS:
            return False
        self._told[subject] = now
        return True
