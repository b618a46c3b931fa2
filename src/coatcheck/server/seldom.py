"""Events worth a line in the log, although strangers can make them happen as often as they like."""

import time
from typing import Final

_SECONDS: Final = 60.0
_SUBJECTS: Final = 100


class Seldom:
    """Lets each subject be told once a minute, and at most a hundred of them. For one event loop."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def is_due(self, subject: str) -> bool:
        """Return whether ``subject`` is to be told now; True counts as told."""
        now = time.monotonic()
        if now - self._told.get(subject, -_SECONDS) < _SECONDS:
            return False
        if len(self._told) >= _SUBJECTS:
            self._told = {other: told for other, told in self._told.items() if now - told < _SECONDS}
        if len(self._told) >= _SUBJECTS:
            return False
        self._told[subject] = now
        return True
