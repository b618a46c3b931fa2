"""The size of a cache folder in bytes: one number in a file that all processes share."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from coatcheck.stores._file.folders import open_file

_LENGTH = 8
_POLL_SECONDS = 0.002


class SizeFile:
    """The number, locked for this process. Never lower than the real size.

    A file is counted before it is added, and discounted after it was removed. A process that is killed in between leaves a
    number that is too high; the next scan of the folder corrects it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> int | None:
        """Return the bytes; None if nobody has counted yet."""
        found = os.pread(self._descriptor, _LENGTH, 0)
        return int.from_bytes(found, "big") if len(found) == _LENGTH else None

    def write(self, total: int) -> None:
        """Set the size to ``total`` bytes."""
        os.pwrite(self._descriptor, total.to_bytes(_LENGTH, "big"), 0)


@contextmanager
def locked_size_file(name: str, folder: int, patience: float) -> Iterator[SizeFile]:
    """Open the size file ``name`` in the open ``folder``, locked against other threads and processes within the block.

    Args:
        name: The file's name.
        folder: Descriptor of the folder.
        patience: Seconds to wait for the lock.

    Raises:
        BlockingIOError: It was locked for ``patience`` seconds; the process with the lock may be stopped.
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
            yield SizeFile(descriptor)
        finally:
            # Closing is not enough: a child forked meanwhile has a copy of the descriptor, and so keeps the lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)
