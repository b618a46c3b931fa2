"""Every way in which coatcheck could ask for the date, led to a calendar that may be wrong."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, tzinfo
from typing import Self

import pytest


def lead(patch: pytest.MonkeyPatch, calendar: Callable[[], datetime]) -> None:
    """Until ``patch`` is undone, ``calendar`` says what day it is, in all modules of coatcheck that are loaded.

    Modules that took ``datetime`` or ``date`` by name get a subclass instead; ``time.time`` is exchanged at its root.
    """

    class Led(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(calendar().timestamp(), tz)

        @classmethod
        def utcnow(cls) -> Self:
            return cls.now(UTC).replace(tzinfo=None)

        @classmethod
        def today(cls) -> Self:
            return cls.now()

    class LedDate(date):
        @classmethod
        def today(cls) -> Self:
            return cls.fromtimestamp(calendar().timestamp())

    for name, module in list(sys.modules.items()):
        if name == "coatcheck" or name.startswith("coatcheck."):
            for attribute, led in (("datetime", Led), ("date", LedDate)):
                if getattr(module, attribute, None) in (datetime, date):
                    patch.setattr(module, attribute, led)
    patch.setattr(time, "time", lambda: calendar().timestamp())
    patch.setattr(time, "time_ns", lambda: int(calendar().timestamp() * 1e9))
