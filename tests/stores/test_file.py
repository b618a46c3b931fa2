from pathlib import Path

import pytest

from coatcheck.contracts import Store
from coatcheck.stores.file import FileStore
from coatcheck.testing import StoreSuite


class TestFileStore(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> FileStore:
        return FileStore(tmp_path / "payloads")

    async def raw_get(self, store: Store, key: str) -> bytes | None:
        try:
            return _path(store, key).read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            return None

    async def raw_set(self, store: Store, key: str, data: bytes) -> None:
        path = _path(store, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _path(store: Store, key: str) -> Path:
    """Where the file of ``key`` stands, as the store's docstring says."""
    assert isinstance(store, FileStore)
    parent, _, name = key.rpartition("/")
    return store.folder / parent / f"{name[:2]}~" / name
