"""Rotating a file of keys. Needs POSIX file locks."""

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path

from coatcheck.cli.output import write_output
from coatcheck.contracts.keys import Key
from coatcheck.keys.keyring import Keyring


def rotate_file(path: Path) -> Key:
    """Put a new key first in a file of keys; the rest stays as it is. The file is replaced whole, or not at all.

    If several processes do so at once, no key is lost.

    Raises:
        ConfigError: It is not a file of keys, or others than its owner have access to it.
        OSError: The folder cannot be written to.
    """
    path = path.resolve()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # The folder, since the file itself is replaced.
        fcntl.flock(folder, fcntl.LOCK_EX)
        Keyring.from_file(path)
        key = Key.generate()
        first = f"{key.to_text()}  # {key.id.hex()}, made {datetime.now(UTC):%Y-%m-%d}\n"
        write_output(path, first.encode() + path.read_bytes(), force=True)
        os.fsync(folder)
    finally:
        os.close(folder)
    return key
