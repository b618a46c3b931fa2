"""A store that remembers what it was asked."""

from collections.abc import AsyncIterator

from coatcheck import MemoryStore, StoredObject
from coatcheck.contracts.store import DEFAULT_LIMIT


class WatchedStore(MemoryStore):
    """Keeps every call, as its name and key."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, str]] = []

    async def create(self, key: str, data: bytes) -> bool:
        self.calls.append(("create", key))
        return await super().create(key, data)

    async def replace(self, key: str, data: bytes) -> None:
        self.calls.append(("replace", key))
        await super().replace(key, data)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        self.calls.append(("get", key))
        return await super().get(key, limit)

    async def delete(self, key: str) -> None:
        self.calls.append(("delete", key))
        await super().delete(key)

    async def forget(self, key: str) -> None:
        self.calls.append(("forget", key))

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        self.calls.append(("list", prefix))
        async for entry in super().list_objects(prefix):
            yield entry

    def contents(self) -> dict[str, bytes]:
        """Every object, without a call."""
        return {key: data for key, (data, _) in self._objects.items()}
