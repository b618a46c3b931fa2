"""Processes that share a cache folder, and processes that are killed."""

import asyncio
import sys
from pathlib import Path

from coatcheck.errors import PayloadNotFound
from coatcheck.stores.cached import CachedStore
from coatcheck.stores.file import FileStore
from tests.stores.cached.parts import CHECKSUM, Inner, held

SHARER = """
import asyncio, random, sys
from coatcheck.errors import PayloadNotFound
from coatcheck.stores.cached import CachedStore
from coatcheck.stores.file import FileStore
from tests.stores.cached.parts import held
from pathlib import Path

MOST, SIZE, AT_ONCE, PROCESSES = 200_000, 5_000, 4, 2

async def main(payloads, folder, seed):
    store = CachedStore(FileStore(payloads), folder, max_bytes=MOST)
    draw = random.Random(seed)
    async def client():
        for _ in range(150):
            number = draw.randrange(80)
            data = bytes([number]) * draw.randrange(SIZE - 16)
            key = f"t/{number}"
            match draw.randrange(8):
                case 0:
                    await store.delete(key)
                case 1 | 2:
                    await store.create(key, data)
                case 3:
                    await store.replace(key, data)
                case _:
                    try:
                        assert set(await store.get(key)) <= {number}
                    except PayloadNotFound:
                        pass
            try:
                found = held(Path(folder))
            except FileNotFoundError:
                continue
            assert found <= MOST + PROCESSES * AT_ONCE * SIZE, found
    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    print(store.stats.hits)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_that_share_a_folder_share_the_bound(tmp_path: Path) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", SHARER, str(tmp_path / "payloads"), str(tmp_path / "cache"), str(seed)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for seed in range(2)
    ]
    for process in processes:
        out, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        assert int(out) > 0
    store = CachedStore(FileStore(tmp_path / "payloads"), tmp_path / "cache", max_bytes=200_000)
    await store.forget("t/none")
    await store.create("u/last", b"")
    assert held(tmp_path / "cache") == store.stats.bytes <= 200_000


async def test_copies_made_by_one_process_are_hits_in_another(tmp_path: Path) -> None:
    inner = Inner()
    script = (
        "import asyncio, sys; from coatcheck.stores.cached import CachedStore;"
        "from coatcheck.stores.memory import MemoryStore;"
        "asyncio.run(CachedStore(MemoryStore(), sys.argv[1]).create('t/1', b'payload'))"
    )
    store = CachedStore(inner, tmp_path)
    await store.create("t/0", b"payload")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(tmp_path))
    assert await process.wait() == 0
    assert await store.get("t/1") == b"payload"
    assert inner.gets == 0
    await store.create("t/2", b"payload")
    assert store.stats.bytes == held(tmp_path) == 3 * (len(b"payload") + CHECKSUM)


KILLED = """
import asyncio, random, sys
from coatcheck.errors import PayloadNotFound
from coatcheck.stores.cached import CachedStore
from coatcheck.stores.file import FileStore

async def main(payloads, folder, seed):
    store = CachedStore(FileStore(payloads), folder, max_bytes=300_000)
    draw = random.Random(seed)
    async def client(name):
        while True:
            key = f"{name}/{draw.randrange(6)}"
            data = draw.randbytes(draw.randrange(20_000))
            match draw.randrange(4):
                case 0:
                    await store.delete(key)
                case 1:
                    await store.create(key, data)
                case 2:
                    await store.replace(key, data)
                case _:
                    try:
                        await store.get(key)
                    except PayloadNotFound:
                        pass
            print(flush=True)
    await asyncio.gather(*(client(name) for name in range(4)))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_killed_process_leaves_no_copy_that_differs_from_the_object(tmp_path: Path) -> None:
    inner = FileStore(tmp_path / "payloads")
    folder = tmp_path / "cache"
    hits = 0
    for attempt in range(12):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", KILLED, str(inner.folder), str(folder), str(attempt)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        for _ in range(20 + 7 * attempt):
            await process.stdout.readline()
        process.kill()
        await process.communicate()
        assert held(folder) <= 300_000 + 4 * 20_016
        store = CachedStore(inner, folder, max_bytes=300_000)
        for key in [f"{name}/{number}" for name in range(4) for number in range(6)]:
            outcomes = await asyncio.gather(store.get(key), inner.get(key), return_exceptions=True)
            got, there = (None if isinstance(one, PayloadNotFound) else one for one in outcomes)
            assert got == there, key
        assert held(folder) == store.stats.bytes <= 300_000
        hits += store.stats.hits
    assert hits
