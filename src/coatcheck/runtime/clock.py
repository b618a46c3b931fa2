"""A clock for ages that also counts the time in which the machine sleeps."""

import time
from typing import Final

# Without CLOCK_BOOTTIME, as on Windows, time that the machine sleeps may not count: things then seem younger than they are.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", None)


def boottime() -> float:
    """Return seconds since a fixed moment in the past, the same throughout the process.

    Counts time in which the machine sleeps or is suspended, which ``time.monotonic`` does not on Linux:
    ``CLOCK_BOOTTIME`` in clock_gettime(2).
    """
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)
