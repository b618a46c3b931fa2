"""What a disk can do to CachedStore: a bad one costs the cache, never a call."""

import asyncio
import fcntl
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from coatcheck.errors import PayloadNotFound
from coatcheck.stores._cache import folder as _cache_folder
from coatcheck.stores.cached import CachedStore
from tests.stores.cached.parts import CHECKSUM, KEY, Inner, cached, copies, held


async def check_usable(store: CachedStore) -> None:
    await store.create("t/1", b"payload")
    await store.replace("t/2", b"payload")
    for key in ("t/1", "t/2", "t/1", "t/2"):
        assert await store.get(key) == b"payload"
    await store.delete("t/1")
    with pytest.raises(PayloadNotFound):
        await store.get("t/1")
    await store.forget("t/2")
    await store.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder of this user on a file system of one megabyte."""
    mount = shutil.which("mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [str(mount), "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if mount is None or subprocess.run(command, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root: no disk to fill")
    (disk / "cache").mkdir(mode=0o700)
    yield disk / "cache"
    subprocess.run(["umount", "-l", disk], check=True)  # noqa: S607 - where mount is, umount is


async def make_read_only(disk: Path) -> None:
    process = await asyncio.create_subprocess_exec("mount", "-o", "remount,ro", disk.parent)
    assert await process.wait() == 0


async def test_full(inner: Inner, disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = CachedStore(inner, disk)
    await store.create("t/kept", b"kept")
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(4096)):
            pass
    await check_usable(store)
    assert await store.get("t/kept") == b"kept"
    assert store.stats.hits == 1
    assert held(disk) == len(b"kept") + CHECKSUM
    assert caplog.messages == [
        f"the cache folder {disk} cannot be used (No space left on device); continuing without it"
    ]
    (disk / "filler").unlink()
    await store.create("t/again", b"again")
    assert await cached(store, "t/again") == b"again"


async def test_bound_larger_than_the_disk(inner: Inner, disk: Path) -> None:
    store = CachedStore(inner, disk)
    for number in range(20):
        await store.create(f"t/{number}", bytes([number]) * 100_000)
    for number in range(20):
        assert await store.get(f"t/{number}") == bytes([number]) * 100_000
    assert store.stats.hits >= 9
    assert {path.stat().st_size for path in copies(disk)} == {100_000 + CHECKSUM}


async def test_read_only(inner: Inner, disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    await CachedStore(inner, disk).create("t/kept", b"kept")
    await make_read_only(disk)
    store = CachedStore(inner, disk)
    assert await store.get("t/kept") == b"kept"
    assert store.stats.hits == 1
    await check_usable(store)
    assert caplog.messages == [
        f"the cache folder {disk} cannot be used (Read-only file system); continuing without it"
    ]


async def test_copy_that_cannot_be_removed_is_not_read(
    inner: Inner, disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = CachedStore(inner, disk)
    await store.create("t/1", b"old")
    await store.create("t/2", b"old")
    await make_read_only(disk)
    await store.delete("t/1")
    await store.replace("t/2", b"new")
    with pytest.raises(PayloadNotFound):
        await store.get("t/1")
    assert await store.get("t/2") == b"new"
    assert len(copies(disk)) == 2
    assert len(caplog.messages) == 1


async def test_file_in_place_of_the_folder(
    inner: Inner, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_bytes(b"not a folder")
    with caplog.at_level(logging.WARNING, "coatcheck"):
        await check_usable(CachedStore(inner, folder))
    (said,) = caplog.messages
    assert said.startswith(
        f"the cache folder {folder} cannot be used ({folder} is a file, which coatcheck did not"
    )
    assert said.endswith("; continuing without it. Find out who did, and remove it.")
    assert folder.read_bytes() == b"not a folder"


async def test_folder_in_place_of_a_copy(store: CachedStore, inner: Inner) -> None:
    store._copies._path(KEY).mkdir(parents=True)
    await store.create(KEY, b"payload")
    assert await store.get(KEY) == b"payload"


def test_folder_of_another_user(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    if os.getuid() != 0:
        closed.chmod(0o000)
    # The way to it must be open, or another user could not even see that it is closed.
    for parent in list(closed.parents)[:3]:
        if parent.stat().st_uid == os.getuid() and parent != Path(parent.anchor):
            parent.chmod(parent.stat().st_mode | 0o011)
    script = (
        "import asyncio, concurrent.futures.thread, os, sys, tests.stores.cached.test_disk as t\n"
        "from pathlib import Path\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "async def main():\n"
        "    await t.check_usable(t.CachedStore(t.Inner(), Path(sys.argv[1]) / 'cache'))\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(closed)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be used (Permission denied)") == 1
    closed.chmod(0o700)


async def test_holder_of_the_lock_that_is_stopped(
    store: CachedStore, inner: Inner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cache_folder, "_LOCK_PATIENCE", 0.0)
    await store.create("t/kept", b"kept")
    with (folder / "bytes").open() as size_file:
        fcntl.flock(size_file, fcntl.LOCK_EX)
        await check_usable(store)
        assert await store.get("t/kept") == b"kept"
        assert store.stats.hits == 1
        await store.delete("t/kept")
        assert copies(folder) == []
    store._copies._lock_pause_ends = 0
    await store.create("t/again", b"again")
    assert await cached(store, "t/again") == b"again"
