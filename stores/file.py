"""Objects as files in a folder: the default store."""

import asyncio
import bisect
import errno
import itertools
import os
import re
import secrets
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from platformdirs import user_data_path

from coatcheck.contracts.store import (
    DEFAULT_LIMIT,
    MAX_SEGMENT_LENGTH,
    Store,
    StoredObject,
    check_key,
    check_size,
)
from coatcheck.errors import ConfigError, PayloadNotFound, StoreDenied, StoreError, StoreUnavailable
from coatcheck.stores._file.folders import Folders, NotOursError, check_regular, open_file, path_of, write_all

_T = TypeVar("_T")

_TEMPORARY = "tmp~"
"""The folder of temporary files. No key contains ``~``, so no object can be here."""
_TEMPORARY_FILE = re.compile(r"[0-9a-f]{32}")
_SHARD_MARK = "~"
_SHARD_LENGTH = 2
_SEGMENT = re.compile(rf"[A-Za-z0-9_=-][A-Za-z0-9._=-]{{0,{MAX_SEGMENT_LENGTH - 1}}}")
"""A segment of a key. Other names in the folder are not ours."""
_ABANDONED_AFTER = 24 * 3600
"""Seconds after which a temporary file counts as left behind by a killed process."""
_FULL_DISK_PAUSE = 60.0
"""Seconds: a full disk does not empty itself while a call waits."""
_PAGE = 1000
"""Entries that a listing reads in one call in a thread."""
_NO_LINKS = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
"""Errors of a file system without hard links; many return EPERM instead."""

_Publish = Callable[[str, int, str, int], bool]
"""Publishes a temporary file (name, folder) as an object (name, folder); returns False if the object already exists."""


class FileStore(Store):
    """A store that writes each object to its own file below ``folder``, readable by its owner only.

    A write goes to a temporary file, which is synced and then linked to its name; then the folder is synced. After a crash an
    object is complete or absent, and of several concurrent writers (threads or processes) exactly one wins. The file
    system must support hard links. Files have mode 0600, folders 0700. The last segment of a key is sharded by its
    first two characters, so that folders stay small.

    ``folder``, and all folders below it, must belong to the user of this process or to root, and be writable for nobody
    else; otherwise a :class:`ConfigError` names the folder, its owner and its mode. Links in the path to ``folder`` are
    followed only if this user or root made them, and only at first use; below it no link is followed. If the place of
    an object has something other than a regular file, that is an error too, and it is left unchanged; listings skip it.

    Safe from several threads and event loops, and after a fork; the disk is used in threads.

    Args:
        folder: Created on the first write. Defaults to ``payloads`` in the user's data folder for coatcheck
            (``~/.local/share/coatcheck`` on Linux).
        trust_folder: Accept any owner and mode of the folder and those below it, for Kubernetes (``fsGroup``), NFS or SMB,
            which set them. Anybody who can write there can delete and replace objects.
    """

    def __init__(self, folder: str | Path | None = None, *, trust_folder: bool = False) -> None:
        self.folder = Path(folder) if folder is not None else user_data_path("coatcheck") / "payloads"
        self._folders = Folders(self.folder, trusted=trust_folder, synced=True)
        self._swept_temporaries = False

    def __repr__(self) -> str:
        return f"FileStore({str(self.folder)!r})"

    async def create(self, key: str, data: bytes) -> bool:
        """See :meth:`Store.create`."""
        return await self._in_thread(key, lambda: self._write(key, data, _link))

    async def replace(self, key: str, data: bytes) -> None:
        """See :meth:`Store.replace`."""
        await self._in_thread(key, lambda: self._write(key, data, _rename))

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """See :meth:`Store.get`."""
        return await self._in_thread(key, lambda: self._read(key, limit))

    async def delete(self, key: str) -> None:
        """See :meth:`Store.delete`."""
        await self._in_thread(key, lambda: self._unlink(key))

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """See :meth:`Store.list_objects`. Reads folders step by step, 1,000 entries at a time."""
        entries = self._walk(prefix)
        while True:
            try:
                page = await asyncio.to_thread(lambda: list(itertools.islice(entries, _PAGE)))
            except OSError as error:
                raise self._typed(error, prefix) from error
            for entry in page:
                yield entry
            if len(page) < _PAGE:
                return

    async def list_first(self, prefix: str, count: int) -> list[StoredObject]:
        """See :meth:`Store.list_first`. In a folder without subfolders it reads only ``count`` files."""
        try:
            return await asyncio.to_thread(self._first, prefix, count)
        except OSError as error:
            raise self._typed(error, prefix) from error

    async def _in_thread(self, key: str, action: Callable[[], _T]) -> _T:
        check_key(key)
        # Shielded: a cancelled caller returns at once, while the write ends in the thread.
        work = asyncio.ensure_future(asyncio.to_thread(action))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            work.add_done_callback(_retrieve_exception)
            raise
        except OSError as error:
            raise self._typed(error, key) from error

    def _path(self, key: str) -> Path:
        """Return the file of ``key``, for measurements from outside."""
        names, name = _place(key)
        return self.folder.joinpath(*names, name)

    def _read(self, key: str, limit: int) -> bytes:
        names, name = _place(key)
        with self._folders.opened(*names) as folder, os.fdopen(open_file(name, folder), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            check_size(size, limit, key)
            return file.read(size)

    def _write(self, key: str, data: bytes, publish: _Publish) -> bool:
        names, name = _place(key)
        try:
            with self._folders.made(_TEMPORARY) as temporaries, self._folders.made(*names) as folder:
                self._sweep_temporaries(temporaries)
                with suppress(FileNotFoundError):
                    check_regular(name, folder)
                with _temporary(temporaries, data) as temporary:
                    published = publish(temporary, temporaries, name, folder)
                # Also if another writer won: this caller relies on its link, which may not be durable yet.
                os.fsync(folder)
                return published
        except FileNotFoundError as error:
            raise StoreUnavailable(
                f"a temporary file in {self.folder} was removed while it was being written",
                "Retry. Check the clocks of the machines that share the folder: a difference of a day looks like a crash.",
                key,
            ) from error

    def _unlink(self, key: str) -> None:
        names, name = _place(key)
        try:
            with self._folders.opened(*names) as folder:
                check_regular(name, folder)
                os.unlink(name, dir_fd=folder)
                os.fsync(folder)
        except FileNotFoundError:
            return

    def _sweep_temporaries(self, temporaries: int) -> None:
        """Remove the files of killed writers, and nothing else. Done once per store.

        A file that is linked to its object takes no extra space, and stays as long as the object.
        """
        if self._swept_temporaries:
            return
        self._swept_temporaries = True
        with os.scandir(temporaries) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
                    abandoned = status.st_nlink == 1 and time.time() - status.st_mtime > _ABANDONED_AFTER
                    if ours and abandoned and _TEMPORARY_FILE.fullmatch(entry.name):
                        os.unlink(entry.name, dir_fd=temporaries)

    def _walk(self, wanted: str) -> Iterator[StoredObject]:
        with suppress(FileNotFoundError), self._folders.opened() as root:
            yield from self._walk_folder(root, "", wanted)

    def _walk_folder(self, folder: int, above: str, wanted: str) -> Iterator[StoredObject]:
        """Yield the objects below the open ``folder``, whose keys start with ``above``.

        The last segments of keys are in order: there are at most a few thousand shards, and each is sorted by itself.
        """
        shards: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name.removesuffix(_SHARD_MARK)
                if entry.name == _TEMPORARY or not _SEGMENT.fullmatch(name):
                    continue
                is_shard = name != entry.name
                below = above + name + ("" if is_shard else "/")
                if not (below.startswith(wanted) or wanted.startswith(below)):
                    continue
                if not entry.is_dir(follow_symlinks=False):
                    continue
                if is_shard:
                    shards.append(name)
                    continue
                with suppress(FileNotFoundError), self._opened(entry.name, folder) as inner:
                    yield from self._walk_folder(inner, below, wanted)
        for name in sorted(shards):
            with suppress(FileNotFoundError), self._opened(name + _SHARD_MARK, folder) as inner:
                yield from _objects_in(inner, name, above, wanted)

    def _first(self, wanted: str, count: int) -> list[StoredObject]:
        folder = wanted.rpartition("/")[0]
        first: list[StoredObject] = []
        for entry in self._walk(wanted):
            bisect.insort(first, entry, key=lambda entry: entry.key)
            # Files in the folder itself come last, and in order: no later key is smaller.
            if len(first) > count and first.pop() is entry and entry.key.rpartition("/")[0] == folder:
                break
        return first

    @contextmanager
    def _opened(self, name: str, parent: int) -> Iterator[int]:
        descriptor = self._folders.open_below(name, parent)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _typed(self, error: OSError, key: str) -> StoreError | PayloadNotFound | ConfigError:
        if isinstance(error, NotOursError):
            return ConfigError(error.strerror or "", error.todo, key)
        reason = f"{error.strerror or error} ({errno.errorcode.get(error.errno or 0, 'no errno')})"
        match error.errno:
            case errno.ENOENT:
                return PayloadNotFound(
                    f"there is no such object in {self.folder}",
                    "Restore it from a backup, or check that this is the folder it was written to.",
                    key,
                )
            case errno.EACCES | errno.EPERM | errno.EROFS:
                return StoreDenied(
                    f"{self.folder} refuses access: {reason}",
                    "Make it readable and writable for the user of this process.",
                    key,
                )
            case errno.ENOSPC | errno.EDQUOT:
                return StoreUnavailable(
                    f"{self.folder} is full: {reason}",
                    "Free some space. No partial object was kept.",
                    key,
                    retry_after=_FULL_DISK_PAUSE,
                )
            case _:
                return StoreUnavailable(
                    f"{self.folder} failed: {reason}", "Check the disk, and that the path is a folder.", key
                )


def _place(key: str) -> tuple[list[str], str]:
    """Return the folders of the file of ``key``, and its name."""
    *parents, name = key.split("/")
    return [*parents, name[:_SHARD_LENGTH] + _SHARD_MARK], name


@contextmanager
def _temporary(folder: int, data: bytes) -> Iterator[str]:
    """Create a synced temporary file of ``data`` in the open ``folder``, yield its name, and remove it at the end."""
    name = secrets.token_hex(16)
    try:
        descriptor = open_file(name, folder, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        yield name
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


def _link(temporary: str, temporaries: int, name: str, folder: int) -> bool:
    try:
        os.link(temporary, name, src_dir_fd=temporaries, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        check_regular(name, folder)
        return False
    except OSError as error:
        if error.errno in _NO_LINKS or (
            error.errno == errno.EPERM and not _links_at_all(temporary, temporaries)
        ):
            raise NotOursError(
                f"the file system of {path_of(folder)} has no hard links"
                f" ({error.strerror}, {errno.errorcode.get(error.errno or 0)}), so create-if-absent is not possible",
                "Use a folder on a file system with hard links, such as ext4, XFS or NFS; or a bucket, or PostgreSQL.",
            ) from error
        raise
    return True


def _links_at_all(temporary: str, temporaries: int) -> bool:
    """Return True if hard links work within the folder of temporary files, so that the mount supports them."""
    second = secrets.token_hex(16)
    try:
        os.link(temporary, second, src_dir_fd=temporaries, dst_dir_fd=temporaries, follow_symlinks=False)
    except OSError:
        return False
    os.unlink(second, dir_fd=temporaries)
    return True


def _rename(temporary: str, temporaries: int, name: str, folder: int) -> bool:
    os.rename(temporary, name, src_dir_fd=temporaries, dst_dir_fd=folder)
    return True


def _objects_in(shard: int, shard_name: str, above: str, wanted: str) -> Iterator[StoredObject]:
    """Yield the objects in an open shard, in order."""
    with os.scandir(shard) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            key = above + entry.name
            ours = entry.name[:_SHARD_LENGTH] == shard_name and _SEGMENT.fullmatch(entry.name)
            if not ours or not key.startswith(wanted):
                continue
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield StoredObject(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _retrieve_exception(work: "asyncio.Future[_T]") -> None:
    """Retrieve an error that nobody awaits any more, so that asyncio does not log it."""
    if not work.cancelled():
        work.exception()
