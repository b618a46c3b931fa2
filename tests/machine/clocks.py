"""The clocks of all processes of the machine: they wait for nothing, and calendars may be wrong."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from coatcheck.runtime import clock
from tests.machine.process import skew
from tests.retention import calendars

_real_time: Final = time.time
_real_uptime: Final = clock.boottime


class Clocks:
    """How far time was moved. That of the stores is moved by :class:`~tests.retention.aged_store.AgedStore`."""

    def __init__(self) -> None:
        self.elapsed = timedelta()

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Until the end of the block, coatcheck in this process has no other clock."""
        with pytest.MonkeyPatch.context() as patch:
            calendars.lead(
                patch, lambda: datetime.fromtimestamp(_real_time(), UTC) + self.elapsed + skew.get()
            )
            # Nobody moves the stamps of files: they are compared with a clock that is only wrong.
            patch.setattr(time, "time", lambda: _real_time() + skew.get().total_seconds())
            for name, module in list(sys.modules.items()):
                # What a store stamps objects with is right, whoever writes them.
                if name.startswith("coatcheck.stores.") and hasattr(module, "datetime"):
                    patch.setattr(module, "datetime", datetime)
                if name.startswith("coatcheck.") and getattr(module, "boottime", None) is _real_uptime:
                    patch.setattr(module, "boottime", self._uptime)
            yield

    def _uptime(self) -> float:
        return self.elapsed.total_seconds()
