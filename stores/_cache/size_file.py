"""How many bytes a cache folder holds: one number that all processes share."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from coatcheck.stores._file.folders import open_file

_LENGTH = 8
_POLL_SECONDS = 0.002


class Ledger:
    """The number, while this process alone may read and write it. Never lower than the truth.

    Whoever adds a file counts it first, and whoever removes one counts that afterwards, so a process that is
    killed in between leaves a number that is too high: the next look into the folder puts it right.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> int | None:
        """Bytes; None if nobody has counted yet."""
        found = os.pread(self._descriptor, _LENGTH, 0)
        return int.from_bytes(found, "big") if len(found) == _LENGTH else None

    def write(self, total: int) -> None:
        """Note that the folder holds ``total`` bytes."""
        os.pwrite(self._descriptor, total.to_bytes(_LENGTH, "big"), 0)


@contextmanager
def ledger_of(name: str, folder: int, patience: float) -> Iterator[Ledger]:
    """Open the ledger ``name`` in the open ``folder``, locked against other threads and processes for the length of the block.

    Raises:
        BlockingIOError: It was locked for ``patience`` seconds; its holder may be stopped.
        OSError: The file cannot be used.
    """
    descriptor = open_file(name, folder, os.O_RDWR | os.O_CREAT)
    try:
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise
            time.sleep(_POLL_SECONDS)
        try:
            yield Ledger(descriptor)
        finally:
            # Closing is not enough: a child that was forked meanwhile holds the lock with its copy.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)
