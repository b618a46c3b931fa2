"""``without_any.py FOLDER``: nothing but coatcheck itself."""

import asyncio
import sys

from chains import chain_on, check_round_trip

from coatcheck import Checkpoints, FileStore, MemoryStore


async def main(folder: str) -> None:
    await check_round_trip(MemoryStore())
    await check_round_trip(FileStore(folder))
    checkpoints = Checkpoints(chain_on(FileStore(folder)), run="order-4711")
    await checkpoints.save(b"state" * 10_000, step=1)
    assert await checkpoints.restore() == b"state" * 10_000


asyncio.run(main(sys.argv[1]))
