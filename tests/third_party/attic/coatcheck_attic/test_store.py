from pathlib import Path

import pytest

from coatcheck.contracts.store import Store
from coatcheck.testing import StoreSuite

from .store import AtticStore


class TestAtticStore(StoreSuite):
    many = 200

    @pytest.fixture
    def store(self, tmp_path: Path) -> AtticStore:
        return AtticStore(str(tmp_path / "attic.db"))

    async def raw_get(self, store: Store, key: str) -> bytes | None:
        assert isinstance(store, AtticStore)
        rows = await store._run("SELECT data FROM objects WHERE key = ?", key)
        return bytes(rows[0][0]) if rows else None

    async def raw_set(self, store: Store, key: str, data: bytes) -> None:
        assert isinstance(store, AtticStore)
        await store.replace(key, data)
