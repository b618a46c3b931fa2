"""What others can put in the way of a FileStore: nothing is followed, waited for or removed, and every refusal names it."""

import asyncio
import itertools
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from coatcheck import ConfigError, FileStore, LimitExceeded, PayloadNotFound, StoreDenied
from coatcheck.contracts.store import Store
from coatcheck.errors import CoatcheckError
from tests.engines import exfat

KEY = "ab/cd/ef01"
SHARD = "ab/cd/ef~"
SOMEBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


async def failures(store: Store) -> list[CoatcheckError | None]:
    async def listed() -> None:
        _ = [entry async for entry in store.list_objects()]

    outcomes: list[CoatcheckError | None] = []
    async with asyncio.timeout(30):
        for action in (
            store.create(KEY, b"x"),
            store.replace(KEY, b"x"),
            store.get(KEY),
            store.delete(KEY),
            listed(),
        ):
            try:
                await action
                outcomes.append(None)
            except CoatcheckError as error:
                outcomes.append(error)
    return outcomes


def everything_below(folder: Path) -> list[tuple[str, int, int]]:
    """Each path with its kind, mode and number of links."""
    return sorted(
        (str(path), status.st_mode, status.st_nlink)
        for path in folder.rglob("*")
        for status in [path.lstat()]
    )


async def refused(store: Store, folder: Path, named: str) -> None:
    """Every call raises a ConfigError that names what is wrong, and changes nothing."""
    before = everything_below(folder)
    for failure in await failures(store):
        assert type(failure) is ConfigError, failure
        assert named in str(failure)
    assert everything_below(folder) == before


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777, 0o2775])
async def test_folder_that_others_may_write_was_used(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    await refused(FileStore(folder), tmp_path, f"{folder} belongs to user {os.geteuid()}")
    await refused(FileStore(folder), tmp_path, f"mode {mode:04o}")
    await refused(FileStore(folder), tmp_path, "or name a folder inside it")


@needs_root
async def test_folder_of_another_user_was_used(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    os.chown(folder, SOMEBODY, SOMEBODY)
    await refused(FileStore(folder), tmp_path, f"{folder} belongs to user {SOMEBODY}")


AS_SOMEBODY = """
import asyncio, concurrent.futures.thread, os, sys
from coatcheck import FileStore
os.setgroups([]); os.setgid(65534); os.setuid(65534)
async def main():
    store = FileStore(sys.argv[1], trust_folder=len(sys.argv) > 2)
    assert await store.create("a/b", b"x") and await store.get("a/b") == b"x"
asyncio.run(main())
"""


def as_somebody(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", AS_SOMEBODY, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def volume() -> Iterator[Path]:
    """A volume as Kubernetes mounts it: of root, writable for a group."""
    # Not below tmp_path: nobody else may go through that.
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        volume = Path(folder) / "volume"
        volume.mkdir()
        os.chown(volume, 0, SOMEBODY)
        volume.chmod(0o2775)
        yield volume


@needs_root
def test_volume_of_a_cluster_takes_a_folder_inside_it(volume: Path) -> None:
    """As the error of the volume itself says."""
    at_its_root = as_somebody(str(volume))
    assert "ConfigError" in at_its_root.stderr
    assert "name a folder inside it" in at_its_root.stderr
    inside = as_somebody(str(volume / "payloads"))
    assert inside.returncode == 0, inside.stderr
    assert stat.S_IMODE((volume / "payloads").stat().st_mode) & 0o077 == 0


@needs_root
def test_volume_whose_modes_the_cluster_sets_is_trusted_when_told(volume: Path) -> None:
    """A pod that starts again finds all of it writable for the group."""
    assert as_somebody(str(volume / "payloads")).returncode == 0
    for path in volume.rglob("*"):
        path.chmod(path.stat().st_mode | (0o2070 if path.is_dir() else 0o060))
    again = as_somebody(str(volume / "payloads"))
    assert "trust_folder=True" in again.stderr
    (volume / "payloads/a/b~/b").unlink()
    assert as_somebody(str(volume / "payloads"), "trusted").returncode == 0


async def test_link_to_the_folder_is_followed_once(tmp_path: Path) -> None:
    first, second, link = tmp_path / "first", tmp_path / "second", tmp_path / "link"
    first.mkdir()
    second.mkdir()
    link.symlink_to(first)
    store = FileStore(link)
    assert await store.create(KEY, b"data")
    link.unlink()
    link.symlink_to(second)
    assert await store.get(KEY) == b"data"
    assert (first / SHARD / "ef01").exists()


@needs_root
async def test_link_of_another_user_in_the_way_was_followed(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "private")
    os.chown(link, SOMEBODY, SOMEBODY, follow_symlinks=False)
    await refused(FileStore(link), tmp_path, f"{link} is a symbolic link that belongs to user {SOMEBODY}")
    await refused(FileStore(link / "payloads"), tmp_path, f"{link} is a symbolic link")


def _link(path: Path, elsewhere: Path) -> None:
    path.symlink_to(elsewhere)


def _dangling(path: Path, elsewhere: Path) -> None:
    path.symlink_to(elsewhere / "nothing")


def _pipe(path: Path, _elsewhere: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path, _elsewhere: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # A socket's path has at most 108 bytes.
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def _device(path: Path, _elsewhere: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root can make devices")


def _folder(path: Path, _elsewhere: Path) -> None:
    path.mkdir()


PLANTED = [_link, _dangling, _pipe, _socket, _device, _folder]


@pytest.mark.parametrize("plant", PLANTED)
async def test_what_is_no_file_in_the_place_of_an_object_was_followed_or_waited_for(
    tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"not an object")
    store = FileStore(tmp_path / "store")
    await store.create("ab/cd/ef02", b"data")
    plant(tmp_path / "store" / SHARD / "ef01", secret)
    before = everything_below(tmp_path / "store")
    outcomes = await failures(store)
    for failure in outcomes[:4]:
        assert type(failure) is ConfigError
        assert f"{SHARD}/ef01 is a" in str(failure)
    assert outcomes[4] is None
    assert [entry.key async for entry in store.list_objects()] == ["ab/cd/ef02"]
    assert everything_below(tmp_path / "store") == before
    assert secret.read_bytes() == b"not an object"


@pytest.mark.parametrize("place", ["ab", "ab/cd", SHARD, "tmp~"])
@pytest.mark.parametrize("plant", [_link, _pipe])
async def test_link_in_place_of_a_folder_was_followed(
    tmp_path: Path, plant: Callable[[Path, Path], None], place: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    old = elsewhere / ("0" * 32)
    old.write_bytes(b"precious")
    os.utime(old, (0, 0))
    planted = tmp_path / "store" / place
    planted.parent.mkdir(parents=True)
    plant(planted, elsewhere)
    store = FileStore(tmp_path / "store")
    outcomes = await failures(store)
    concerned = outcomes[:2] if place == "tmp~" else outcomes[:4]
    for failure in concerned:
        assert type(failure) is ConfigError
        assert f"{place} is a" in str(failure)
    assert outcomes[4] is None
    assert [entry async for entry in store.list_objects()] == []
    assert [path.name for path in elsewhere.iterdir()] == ["0" * 32]


@needs_root
@pytest.mark.parametrize("place", ["ab", SHARD])
async def test_folder_of_another_user_below_the_folder_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "store" / SHARD).mkdir(parents=True)
    os.chown(tmp_path / "store" / place, SOMEBODY, SOMEBODY)
    await refused(FileStore(tmp_path / "store"), tmp_path / "store" / "ab", f"{place} belongs to user 65534")


async def test_temporary_files_that_are_not_ours_were_removed(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    await store.create(KEY, b"data")
    temporaries = tmp_path / "tmp~"
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    named = {name * 32: temporaries / (name * 32) for name in "0123456"}
    ours, linked, link, pipe, theirs, folder, young = named.values()
    ours.write_bytes(b"half")
    os.link(precious, linked)
    link.symlink_to(precious)
    os.mkfifo(pipe)
    theirs.write_bytes(b"x")
    if os.geteuid() == 0:
        os.chown(theirs, SOMEBODY, SOMEBODY)
    else:
        theirs.unlink()
    folder.mkdir()
    young.write_bytes(b"half")
    other = temporaries / "notes.txt"
    other.write_bytes(b"x")
    for path in temporaries.iterdir():
        if path != young:
            os.utime(path, (0, 0), follow_symlinks=False)
    before = {path.name for path in temporaries.iterdir()}
    again = FileStore(tmp_path)
    async with asyncio.timeout(30):
        assert await again.create("other/key", b"data")
    assert {path.name for path in temporaries.iterdir()} == before - {ours.name}
    assert precious.read_bytes() == b"precious"


async def test_listing_gave_files_that_are_no_objects(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    await store.create(KEY, b"data")
    for name in ("README", "ab/notes", f"{SHARD}/xy", f"{SHARD}/.ef01.swp", "lost+found"):
        (tmp_path / name).write_bytes(b"x")
    assert [entry.key async for entry in store.list_objects()] == [KEY]


async def test_object_that_grows_while_it_is_read_was_read_to_its_end(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    await store.create(KEY, bytes(100))
    path = tmp_path / SHARD / "ef01"
    with path.open("ab") as file:
        file.truncate(2 << 30)  # Of holes: it takes no room.
        started = time.monotonic()
        with pytest.raises(LimitExceeded, match="has 2147483648 bytes"):
            await store.get(KEY, limit=1 << 20)
        assert time.monotonic() - started < 30
    os.truncate(path, 100)
    look, looks = os.fstat, itertools.count()

    def grows(descriptor: int) -> os.stat_result:
        status = look(descriptor)
        if stat.S_ISREG(status.st_mode) and next(looks):
            os.truncate(path, 64 << 20)
        return status

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fstat", grows)
        assert await store.get(KEY, limit=1 << 20) == bytes(100)
    assert path.stat().st_size == 64 << 20


@pytest.fixture
def without_links(tmp_path: Path) -> Iterator[Path]:
    with exfat.mounted(tmp_path) as folder:
        yield folder


async def test_mount_without_hard_links_was_called_a_lack_of_permission(without_links: Path) -> None:
    with pytest.raises(ConfigError, match="trust_folder"):
        await FileStore(without_links / "payloads").create(KEY, b"data")
    store = FileStore(without_links / "payloads", trust_folder=True)
    with pytest.raises(ConfigError, match=r"payloads/ab/cd/ef~ has no hard links .*or PostgreSQL"):
        await store.create(KEY, b"data")
    with pytest.raises(PayloadNotFound):
        await store.get(KEY)
    assert list((without_links / "payloads/tmp~").iterdir()) == []
    # What needs no link works: an older folder that was moved here can be read and swept.
    await store.replace(KEY, b"data")
    assert await store.get(KEY) == b"data"


@pytest.fixture
def immutable(tmp_path: Path) -> Iterator[Path]:
    """A shard that takes no new names."""
    shard = tmp_path / SHARD
    shard.mkdir(parents=True)
    chattr = shutil.which("chattr")
    if chattr is None or subprocess.run([chattr, "+i", shard], check=False, capture_output=True).returncode:
        pytest.skip("this file system, or this user, cannot make a folder immutable")
    try:
        yield shard
    finally:
        subprocess.run([chattr, "-i", shard], check=True)


@pytest.mark.usefixtures("immutable")
async def test_folder_that_takes_nothing_is_denied_and_no_mount_without_hard_links(tmp_path: Path) -> None:
    with pytest.raises(StoreDenied, match="refuses"):
        await FileStore(tmp_path).create(KEY, b"data")
