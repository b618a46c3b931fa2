"""Objects as files below a folder: the embedded default."""

import asyncio
import errno
import itertools
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from platformdirs import user_data_path

from coatcheck.contracts import DEFAULT_LIMIT, Store, StoredObject, check_key, check_size
from coatcheck.errors import PayloadNotFound, StoreDenied, StoreError, StoreUnavailable

_T = TypeVar("_T")

_TEMPORARY = "tmp~"
"""Where objects are written before they get their name; ``~`` is in no key, so no object can be here."""
_SHARD_MARK = "~"
_SHARD_LENGTH = 2
_ABANDONED_AFTER = 24 * 3600
"""Seconds after which a temporary file is taken for one that a killed process left behind."""
_FULL_DISK_PAUSE = 60.0
"""Seconds: a full disk does not empty itself while a call waits."""
_PAGE = 1000
"""Entries that a listing reads in one hop to a thread."""


class FileStore(Store):
    """Keeps each object in a file of its own below ``folder``, readable by its owner only.

    A write goes to a temporary file that is synced, then linked to its name, then the folder is synced: after
    a crash an object is whole or absent, and of several writers at once (threads or processes) one wins. The
    file system must have hard links. Files have mode 0600, folders 0700; the last segment of a key is sharded
    by its first two characters, so that no folder grows beyond what file systems like.

    Args:
        folder: Made on the first write. Defaults to ``payloads`` in the user's data folder for coatcheck
            (``~/.local/share/coatcheck`` on Linux).
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder is not None else user_data_path("coatcheck") / "payloads"
        self._swept_temporaries = False

    def __repr__(self) -> str:
        return f"FileStore({str(self.folder)!r})"

    async def create(self, key: str, data: bytes) -> bool:
        """See :meth:`Store.create`."""
        return await self._in_thread(key, lambda path: self._write(path, data, self._link))

    async def replace(self, key: str, data: bytes) -> None:
        """See :meth:`Store.replace`."""
        await self._in_thread(key, lambda path: self._write(path, data, self._rename))

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        """See :meth:`Store.get`."""

        def read(path: Path) -> bytes:
            with path.open("rb", buffering=0) as file:
                check_size(os.fstat(file.fileno()).st_size, limit, key)
                return file.read()

        return await self._in_thread(key, read)

    async def delete(self, key: str) -> None:
        """See :meth:`Store.delete`."""
        await self._in_thread(key, self._unlink)

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """See :meth:`Store.list_objects`. Reads folders as it goes, 1,000 entries at a time."""
        entries = self._walk(self.folder, "", prefix)
        while True:
            try:
                page = await asyncio.to_thread(lambda: list(itertools.islice(entries, _PAGE)))
            except OSError as error:
                raise self._typed(error, prefix) from error
            for entry in page:
                yield entry
            if len(page) < _PAGE:
                return

    async def _in_thread(self, key: str, action: Callable[[Path], _T]) -> _T:
        path = self._path(check_key(key))
        # Shielded: a cancelled caller leaves at once, while the write goes on to its end in the thread.
        work = asyncio.ensure_future(asyncio.to_thread(action, path))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            work.add_done_callback(_retrieve_exception)
            raise
        except OSError as error:
            raise self._typed(error, key) from error

    def _path(self, key: str) -> Path:
        parent, _, name = key.rpartition("/")
        return self.folder / parent / (name[:_SHARD_LENGTH] + _SHARD_MARK) / name

    def _write(self, path: Path, data: bytes, publish: Callable[[Path, Path], bool]) -> bool:
        temporaries = self.folder / _TEMPORARY
        self._make_folders(temporaries)
        self._make_folders(path.parent)
        self._sweep_temporaries(temporaries)
        temporary = temporaries / secrets.token_hex(16)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123 - a descriptor, not a path
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                os.fsync(descriptor)
            published = publish(temporary, path)
        except FileNotFoundError as error:
            raise StoreUnavailable(
                f"what was being written to {self.folder} was removed before it was whole",
                "Retry; check the clocks of the machines that share the folder: a day's difference looks like a crash.",
                path.name,
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
        # Also where another writer won: its link may not be durable yet when this caller relies on it.
        _sync_folder(path.parent)
        return published

    @staticmethod
    def _link(temporary: Path, path: Path) -> bool:
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        return True

    @staticmethod
    def _rename(temporary: Path, path: Path) -> bool:
        temporary.replace(path)
        return True

    @staticmethod
    def _unlink(path: Path) -> None:
        try:
            path.unlink()
        except FileNotFoundError:
            return
        _sync_folder(path.parent)

    def _make_folders(self, folder: Path) -> None:
        if folder.is_dir():
            return
        if folder != folder.parent:
            self._make_folders(folder.parent)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            if not folder.is_dir():
                raise
        # Also where another writer made it: its entry may not be durable yet.
        _sync_folder(folder.parent)

    def _sweep_temporaries(self, temporaries: Path) -> None:
        """Once per store: remove what killed writers left behind."""
        if self._swept_temporaries:
            return
        self._swept_temporaries = True
        for temporary in temporaries.iterdir():
            try:
                if time.time() - temporary.stat().st_mtime > _ABANDONED_AFTER:
                    temporary.unlink()
            except FileNotFoundError:
                continue

    def _walk(self, folder: Path, key_prefix: str, wanted: str) -> Iterator[StoredObject]:
        try:
            entries = os.scandir(folder)
        except FileNotFoundError:
            return
        with entries:
            for entry in entries:
                if entry.name == _TEMPORARY and not key_prefix:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shard = entry.name.endswith(_SHARD_MARK)
                    below = key_prefix + (entry.name.removesuffix(_SHARD_MARK) if shard else f"{entry.name}/")
                    if below.startswith(wanted) or wanted.startswith(below):
                        yield from self._walk(Path(entry.path), key_prefix if shard else below, wanted)
                elif (key := key_prefix + entry.name).startswith(wanted):
                    try:
                        status = entry.stat()
                    except FileNotFoundError:
                        continue
                    yield StoredObject(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def _typed(self, error: OSError, key: str) -> StoreError | PayloadNotFound:
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
                    f"{self.folder} refuses: {reason}",
                    "Make it readable and writable for the user that runs this process.",
                    key,
                )
            case errno.ENOSPC | errno.EDQUOT:
                return StoreUnavailable(
                    f"{self.folder} is full: {reason}",
                    "Free some space; nothing partial was kept.",
                    key,
                    retry_after=_FULL_DISK_PAUSE,
                )
            case _:
                return StoreUnavailable(
                    f"{self.folder} failed: {reason}", "Check the disk and that the folder is a folder.", key
                )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _retrieve_exception(work: "asyncio.Future[_T]") -> None:
    """An error that nobody waits for any more is no news."""
    if not work.cancelled():
        work.exception()
