"""What others can put in the way of a CachedStore: it goes on without a cache, or without that copy."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from coatcheck.stores.cached import CachedStore
from tests.stores.cached.parts import KEY, Inner, copies
from tests.stores.cached.test_disk import check_usable


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
async def test_folder_that_others_may_write_was_used(
    inner: Inner, folder: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir()
    folder.chmod(mode)
    store = CachedStore(inner, folder)
    await check_usable(store)
    assert list(folder.iterdir()) == []
    (said,) = caplog.messages
    assert f"{folder} belongs to user {os.geteuid()}" in said
    assert "name a folder inside it" in said
    trusting = CachedStore(inner, folder, trust_folder=True)
    await trusting.create(KEY, b"payload")
    assert len(copies(folder)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
async def test_folder_of_another_user_was_used(
    inner: Inner, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    await check_usable(CachedStore(inner, folder))
    assert list(folder.iterdir()) == []
    assert f"{folder} belongs to user 65534" in caplog.text


def _link(path: Path, elsewhere: Path) -> None:
    path.symlink_to(elsewhere)


def _pipe(path: Path, _elsewhere: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("plant", [_link, _pipe])
@pytest.mark.parametrize("place", ["shard", "copy", "bytes"])
async def test_what_is_planted_in_the_folder_was_followed_or_waited_for(
    store: CachedStore, inner: Inner, tmp_path: Path, plant: Callable[[Path, Path], None], place: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    copy = store._copies._path(KEY)
    at = {"shard": copy.parent, "copy": copy, "bytes": store.folder / "bytes"}[place]
    at.parent.mkdir(parents=True)
    target = elsewhere if place == "shard" else elsewhere / "file"
    if target != elsewhere:
        target.write_bytes(b"precious")
    plant(at, target)
    was = at.lstat()
    async with asyncio.timeout(30):
        await store.create(KEY, b"payload")
        assert await store.get(KEY) == b"payload"
        await check_usable(store)
        await store.delete(KEY)
    assert (at.lstat().st_ino, at.lstat().st_mode) == (was.st_ino, was.st_mode)
    assert [path.name for path in elsewhere.iterdir()] == ([] if target == elsewhere else ["file"])
    assert target == elsewhere or target.read_bytes() == b"precious"


async def test_what_is_planted_among_copies_is_neither_counted_nor_removed(
    inner: Inner, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_bytes(bytes(1000))
    shard = folder / "ab"
    shard.mkdir(parents=True)
    (shard / ("ab" + "0" * 30)).symlink_to(tmp_path / "precious")
    os.mkfifo(shard / ("ab" + "1" * 30))
    (shard / "ab-notes.txt").write_bytes(bytes(1000))
    (shard / ("cd" + "2" * 30)).write_bytes(bytes(1000))
    (folder / "cd").symlink_to(tmp_path)
    (tmp_path / ("cd" + "3" * 30)).write_bytes(bytes(1000))
    store = CachedStore(inner, folder, max_bytes=100)
    for number in range(10):
        await store.create(f"t/{number}", bytes(50))
        assert store.stats.bytes <= 100
    assert len(list(shard.iterdir())) == 4
    assert (tmp_path / ("cd" + "3" * 30)).exists()
