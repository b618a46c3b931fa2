"""``with_testing.py FOLDER``: the conformance suite, run by pytest on a store of one's own."""

import subprocess
import sys
from pathlib import Path

MODULE = """
from datetime import UTC, datetime

import pytest
from coatcheck import MemoryStore
from coatcheck.testing import StoreSuite


class TestMine(StoreSuite):
    @pytest.fixture
    def store(self):
        return MemoryStore()

    async def raw_get(self, store, key):
        return store._objects[key][0] if key in store._objects else None

    async def raw_set(self, store, key, data):
        store._objects[key] = (data, datetime.now(UTC))
"""

folder = Path(sys.argv[1])
(folder / "test_mine.py").write_text(MODULE)
done = subprocess.run(
    [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
    cwd=folder,
    check=False,
    capture_output=True,
    text=True,
)
assert done.returncode == 0, done.stdout
assert " passed" in done.stdout, done.stdout
