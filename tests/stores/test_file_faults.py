"""What a folder can do to a FileStore: every fault is typed, says what to do, and leaves nothing partial."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coatcheck import (
    Chain,
    ConfigError,
    FileStore,
    Offload,
    PayloadNotFound,
    Scope,
    StoreDenied,
    StoreUnavailable,
)

KEY = "ab/cd/ef01"


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


async def test_files_and_folders_are_for_their_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        await FileStore(tmp_path / "store").create(KEY, b"data")
    finally:
        os.umask(old)
    for path in [tmp_path / "store", *(tmp_path / "store").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


async def test_objects_are_sharded_by_their_first_two_characters(tmp_path: Path) -> None:
    await FileStore(tmp_path).create(KEY, b"data")
    assert files_below(tmp_path) == [tmp_path / "ab/cd/ef~/ef01"]


async def test_a_key_can_be_a_folder_of_other_keys(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    keys = ["x/ab", "x/ab/abcd", "x/ab/ab/ab", "x", "ab"]
    for key in keys:
        assert await store.create(key, key.encode())
    for key in keys:
        assert await store.get(key) == key.encode()
    assert sorted([entry.key async for entry in store.list_objects()]) == sorted(keys)


async def test_a_missing_object_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(PayloadNotFound, match=rf"no such object in {tmp_path}.*{KEY}") as caught:
        await FileStore(tmp_path).get(KEY)
    assert isinstance(caught.value, KeyError)


@pytest.fixture
def unprivileged_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that this process may not enter; as root, permissions are tried in a process of another user."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o000)
    yield folder
    folder.chmod(0o700)


ATTEMPT = """
import asyncio, concurrent.futures.thread, os, sys
from coatcheck import FileStore, StoreDenied
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
async def attempt(action):
    try:
        await action
    except StoreDenied as error:
        assert "Make it readable and writable" in str(error) and sys.argv[1] in str(error), error
        return 1
    return 0
async def listed(store):
    return [entry async for entry in store.list_objects()]
async def main():
    store = FileStore(sys.argv[1])
    actions = [store.create("a/b", b"x"), store.replace("a/b", b"x"), store.get("a/b"), store.delete("a/b"), listed(store)]
    print("denied", sum([await attempt(action) for action in actions]))
asyncio.run(main())
"""


def test_a_folder_without_permission_is_denied_not_missing(unprivileged_folder: Path) -> None:
    # The way to it must be open, or another user could not even see that it is closed.
    for parent in list(unprivileged_folder.parents)[:3]:
        if parent.stat().st_uid == os.getuid() and parent != Path(parent.anchor):
            parent.chmod(parent.stat().st_mode | 0o011)
    done = subprocess.run(
        [sys.executable, "-c", ATTEMPT, str(unprivileged_folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "denied 5\n", done.stderr


async def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"not a folder")
    with pytest.raises(ConfigError, match=r"store is a file, which coatcheck did not create"):
        await FileStore(tmp_path / "store").create(KEY, b"data")
    assert (tmp_path / "store").read_bytes() == b"not a folder"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of one megabyte."""
    mount = shutil.which("mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False).returncode
    ):
        pytest.skip("mounting a tmpfs needs root: no disk to fill")
    yield folder / "payloads"
    subprocess.run(["umount", "-l", folder], check=True)  # noqa: S607 - where mount is, umount is


@pytest.mark.filterwarnings("ignore")
async def test_a_full_disk_is_an_error_and_nothing_partial(small_disk: Path) -> None:
    store = FileStore(small_disk)
    assert await store.create("first/object", bytes(600_000))
    with pytest.raises(StoreUnavailable, match=r"is full.*Free some space") as caught:
        await store.create("second/object", bytes(600_000))
    assert caught.value.retryable
    assert [entry.key async for entry in store.list_objects()] == ["first/object"]
    assert [path.stat().st_size for path in files_below(small_disk)] == [600_000]
    await store.delete("first/object")
    assert await store.create("second/object", bytes(600_000))


async def test_a_full_disk_reaches_the_caller_of_the_chain_with_the_object_named(small_disk: Path) -> None:
    chain = Chain(Offload(FileStore(small_disk), over=0))
    with pytest.raises(StoreUnavailable, match=r"\[object [0-9a-f/]{130}\]"):
        await chain.encode(bytes(2_000_000), Scope("t"))


async def test_what_killed_writers_left_behind_is_removed_once_it_is_old(tmp_path: Path) -> None:
    await FileStore(tmp_path).create(KEY, b"data")
    old, fresh = tmp_path / "tmp~" / ("0" * 32), tmp_path / "tmp~" / ("1" * 32)
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    store = FileStore(tmp_path)
    await store.create("other/key", b"data")
    assert not old.exists()
    assert fresh.exists()
    assert sorted([entry.key async for entry in store.list_objects()]) == [KEY, "other/key"]


def test_the_embedded_default_is_in_the_users_data_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert FileStore().folder == tmp_path / "coatcheck" / "payloads"
    assert FileStore().folder.name == "payloads"


def test_making_a_store_touches_nothing(tmp_path: Path) -> None:
    FileStore(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_denied_is_not_worth_retrying() -> None:
    assert not StoreDenied("x").retryable


async def test_a_file_that_vanished_while_it_was_written_was_called_a_missing_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a machine whose clock is days ahead takes it for what a crash left behind."""
    link = os.link

    def swept_before(temporary: str, *args: Any, **folders: Any) -> None:
        os.unlink(temporary, dir_fd=folders["src_dir_fd"])
        link(temporary, *args, **folders)

    store = FileStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", swept_before)
        with pytest.raises(StoreUnavailable, match="clocks"):
            await store.create(KEY, b"data")
    assert await store.create(KEY, b"data")
    assert await store.get(KEY) == b"data"
