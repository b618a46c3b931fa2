"""How long ago something was."""

import time
from typing import Final

# Windows has neither; what stands still there while a machine sleeps is then taken for younger than it is.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", None)


def boottime() -> float:
    """Seconds since some moment in the past, the same one throughout the process.

    Goes on while the machine sleeps or is suspended, which ``time.monotonic`` does not on Linux: ``CLOCK_BOOTTIME`` in
    clock_gettime(2).
    """
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)
