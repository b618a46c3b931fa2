from datetime import UTC, datetime

import pytest

from coatcheck.contracts.store import Store
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import StoreSuite


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    async def raw_get(self, store: Store, key: str) -> bytes | None:
        assert isinstance(store, MemoryStore)
        entry = store._objects.get(key)
        return entry[0] if entry else None

    async def raw_set(self, store: Store, key: str, data: bytes) -> None:
        assert isinstance(store, MemoryStore)
        store._objects[key] = (data, datetime.now(UTC))
