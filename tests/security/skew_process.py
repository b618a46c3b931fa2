"""A process of one agent that reads what others wrote, and writes; for test_clock_skew.

``python -m tests.security.skew_process FOLDER NAME``: prints the time that it believes it is, and how many of all payloads
that any process wrote it read back.
"""

import asyncio
import sys
import time
from pathlib import Path

from coatcheck import CachedStore, Chain, Encrypt, FileStore, Keyring, Offload, PayloadCache, Zstd
from tests.chains import KEY, SCOPE


def payload(name: str) -> bytes:
    """What the process of that name writes."""
    return f"{name};".encode() * 3000


async def _take_part(folder: Path, name: str) -> int:
    store = CachedStore(FileStore(folder / "store"), folder / "disk-cache")
    chain = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store, over=0), cache=PayloadCache(0))
    journal = folder / "journal"
    journal.mkdir(exist_ok=True)
    (journal / name).write_bytes(await chain.encode(payload(name), SCOPE))
    read = 0
    for entry in sorted(journal.iterdir()):
        assert await chain.open(entry.read_bytes(), SCOPE) == payload(entry.name)
        read += 1
    return read


def main() -> None:
    folder, name = sys.argv[1:]
    read = asyncio.run(_take_part(Path(folder), name))
    sys.stdout.write(f"{time.time():.0f} {read}")


if __name__ == "__main__":
    main()
