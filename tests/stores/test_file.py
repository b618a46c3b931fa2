from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from coatcheck.contracts.store import Store
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


async def test_the_first_of_a_folder_are_those_that_a_whole_listing_says(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "payloads")
    names = ("a", "ab1", "ab2", "b", "s1", "step-1", "step-2", "step-3", "z")
    for folder in ("", "a/", "a/s/", "a/zz/", "b/"):
        for name in names:
            if folder + name not in {"a", "b"}:
                await store.create(f"{folder}{name}_", b"x")
    for prefix in ("", "a", "a/", "a/s", "a/step-", "a/s/", "a/z", "b/ab", "none/"):
        for count in (0, 1, 2, 5, 100):
            assert await store.list_first(prefix, count) == await Store.list_first(store, prefix, count)


async def test_the_first_of_many_files_looked_at_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(tmp_path / "payloads")
    for number in range(40):
        await store.create(f"run/step-{number:02}", b"x")
    looked = 0

    def counting(moment: float, zone: object) -> datetime:
        nonlocal looked
        looked += 1
        return datetime.fromtimestamp(moment, zone)  # type: ignore[arg-type]

    monkeypatch.setattr("coatcheck.stores.file.datetime", SimpleNamespace(fromtimestamp=counting))
    assert [entry.key for entry in await store.list_first("run/step-", 2)] == ["run/step-00", "run/step-01"]
    assert looked == 3
