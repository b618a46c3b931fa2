"""Objects in the memory of this process."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from coatcheck.contracts.store import DEFAULT_LIMIT, Store, StoredObject, check_key, check_size
from coatcheck.errors import PayloadNotFound


class MemoryStore(Store):
    """A store in memory, for tests and trials. Its objects end with the process.

    Safe from several threads and event loops: each method is one dictionary operation.
    """

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, datetime]] = {}

    async def create(self, key: str, data: bytes) -> bool:
        """See :meth:`Store.create`."""
        entry = (data, datetime.now(UTC))
        return self._objects.setdefault(check_key(key), entry) is entry

    async def replace(self, key: str, data: bytes) -> None:
        """See :meth:`Store.replace`."""
        self._objects[check_key(key)] = (data, datetime.now(UTC))

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """See :meth:`Store.get`."""
        try:
            data, _ = self._objects[check_key(key)]
        except KeyError:
            raise PayloadNotFound(
                "there is no such object in the memory store",
                "A memory store ends with its process. Use FileStore or a bucket to keep payloads.",
                key,
            ) from None
        check_size(len(data), limit, key)
        return data

    async def delete(self, key: str) -> None:
        """See :meth:`Store.delete`."""
        self._objects.pop(check_key(key), None)

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """See :meth:`Store.list_objects`."""
        for key, (data, modified) in sorted(self._objects.items()):
            if key.startswith(prefix):
                yield StoredObject(key, len(data), modified)
