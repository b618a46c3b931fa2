"""The suite finds what it is for: stores that are wrong in one way each."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from coatcheck.contracts.store import DEFAULT_LIMIT, Store, StoredObject
from coatcheck.errors import PayloadNotFound
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import StoreSuite
from coatcheck.testing._store.concurrency import _create


class _Suite(StoreSuite):
    async def raw_get(self, store: Store, key: str) -> bytes | None:
        assert isinstance(store, MemoryStore)
        entry = store._objects.get(key)
        return entry[0] if entry else None

    async def raw_set(self, store: Store, key: str, data: bytes) -> None:
        assert isinstance(store, MemoryStore)
        store._objects[key] = (data, datetime.now(UTC))


class _Overwrites(MemoryStore):
    async def create(self, key: str, data: bytes) -> bool:
        await self.replace(key, data)
        return True


class _LooksThenWrites(MemoryStore):
    async def create(self, key: str, data: bytes) -> bool:
        there = key in self._objects
        await asyncio.sleep(0)
        if not there:
            await self.replace(key, data)
        return not there


class _WritesInTwoSteps(MemoryStore):
    async def create(self, key: str, data: bytes) -> bool:
        created = await super().create(key, data[: len(data) // 2])
        if created:
            await asyncio.sleep(0)
            await self.replace(key, data)
        return created


class _WholeSegmentsOnly(MemoryStore):
    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        async for found in super().list_objects():
            if found.key == prefix or not prefix or found.key.startswith(f"{prefix.rstrip('/')}/"):
                yield found


class _FirstPageOnly(MemoryStore):
    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        count = 0
        async for found in super().list_objects(prefix):
            if (count := count + 1) <= 1_000:
                yield found


class _NoneForMissing(MemoryStore):
    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        return self._objects[key][0] if key in self._objects else b""


class _OneLoop(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._lock = asyncio.Lock()

    async def create(self, key: str, data: bytes) -> bool:
        async with self._lock:
            await asyncio.sleep(0.01)
            return await super().create(key, data)


class _ForgetsOnClose(MemoryStore):
    async def close(self) -> None:
        self._objects.clear()


class _TakesAnyKey(MemoryStore):
    async def create(self, key: str, data: bytes) -> bool:
        return await super().create(key.replace("..", "_").strip("/") or "_", data)


class _KeepsOneByteLess(MemoryStore):
    async def replace(self, key: str, data: bytes) -> None:
        await super().replace(key, data[:299])


@pytest.mark.parametrize(
    ("broken", "found_by"),
    [
        (_Overwrites, "test_create_writes_once"),
        (_Overwrites, "test_create_respects_what_others_wrote"),
        (_LooksThenWrites, "test_one_of_racing_creates_wins"),
        (_WholeSegmentsOnly, "test_listing_by_prefix"),
        (_FirstPageOnly, "test_listing_many"),
        (_NoneForMissing, "test_missing_object_is_named"),
        (_OneLoop, "test_two_event_loops_at_once"),
        (_ForgetsOnClose, "test_use_after_close"),
        (_ForgetsOnClose, "test_model"),
        (_KeepsOneByteLess, "test_readers_see_one_version_whole"),
    ],
)
async def test_broken_store_is_found(broken: type[MemoryStore], found_by: str) -> None:
    with pytest.raises((AssertionError, PayloadNotFound, RuntimeError, pytest.fail.Exception)):
        await getattr(_Suite(), found_by)(broken())


async def test_partial_write_is_found() -> None:
    with pytest.raises(AssertionError):
        await _Suite().test_cancelled_at_every_step(_WritesInTwoSteps(), _create)


async def test_lax_keys_are_found() -> None:
    with pytest.raises(pytest.fail.Exception):
        await _Suite().test_refused_key(_TakesAnyKey(), "../a")


def test_ten_lines_are_enough(tmp_path: Path) -> None:
    """As a third party uses it: strict asyncio mode, warnings as errors, no configuration of ours."""
    (tmp_path / "test_mine.py").write_text(
        "import pytest\n"
        "from coatcheck.testing import StoreSuite\n"
        "from coatcheck.stores.memory import MemoryStore\n"
        "class TestMine(StoreSuite):\n"
        "    model_examples = 3\n"
        "    @pytest.fixture\n"
        "    def store(self): return MemoryStore()\n"
        "    async def raw_get(self, store, key): return store._objects.get(key, (None,))[0]\n"
        "    async def raw_set(self, store, key, data): await store.replace(key, data)\n"
    )
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings = error\nasyncio_mode = strict\nasyncio_default_fixture_loop_scope = function\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout
    assert " passed" in ran.stdout
    assert "skipped" not in ran.stdout


def test_importing_the_package_loads_no_test_tools() -> None:
    script = (
        "import sys, coatcheck.testing;"
        "sys.exit(bool({'pytest', 'hypothesis', 'pytest_asyncio'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0


def test_missing_test_tool_is_named() -> None:
    script = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import coatcheck.testing\n"
        "try: coatcheck.testing.StoreSuite\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.startswith("ConfigError hypothesis is not installed. Run: pip install")
