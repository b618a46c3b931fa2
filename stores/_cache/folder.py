"""Copies of objects as files in a folder, bounded in bytes."""

import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock

from blake3 import blake3

from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.runtime.forks import after_fork
from coatcheck.stores._cache.size_file import SizeFile, locked_size_file
from coatcheck.stores._file.folders import Folders, NotOursError, check_regular, open_file, write_all

_CHECKSUM_CONTEXT = "coatcheck cached object v1: key length, key, data"
"""Changes with the layout of the files, so that files of another layout are not read."""
_CHECKSUM_LENGTH = 16
_NAME_LENGTH = 16
_SHARD = re.compile(r"[0-9a-f]{2}")
_FILE = re.compile(r"[0-9a-f]{32}(\.[0-9a-f]{16})?")
_SIZE_FILE = "bytes"
_ROOM_SHARE = 10
"""A tenth of the bound is freed at once: scanning all files for each removal would be slow."""
_LOCK_PATIENCE = 0.25
"""Seconds for which a write waits for other processes."""
_LOCK_PAUSE = 10.0
"""Seconds for which nobody waits for the lock again after a wait was in vain."""

_now = time.time_ns

_logger = logging.getLogger("coatcheck")


class CacheFolder:
    """Files ``<2 hex>/<32 hex>`` below ``folder``, each a checksum over key and data, then the data.

    Blocking; safe from any number of threads, and several processes may share the folder. No method raises ``OSError``:
    failures of the disk are logged once, and the operation is skipped. Removes only files with such names, and follows
    no link.

    Args:
        folder: The folder of the copies.
        max_bytes: Most bytes of all files together.
        trusted: Accept any owner and mode of the folder.
    """

    def __init__(self, folder: Path, max_bytes: int, *, trusted: bool = False) -> None:
        self.folder = folder
        self.bytes = 0
        """Bytes in the folder, of all processes, when this process last changed or scanned it."""
        self._folders = Folders(folder, trusted=trusted, synced=False)
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._writing: set[str] = set()
        """Temporary files of this process: each is counted once it becomes a copy."""
        self._counted = False
        self._distrusted = False
        self._warned = False
        self._lock_pause_ends = 0.0
        after_fork(self._reset_after_fork)

    def read(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes | None:
        """Return the copy and mark it as used; None if there is no intact one of up to ``limit`` bytes."""
        if self._distrusted:
            return None
        self._count_once()
        shard, name = _place(key)
        try:
            with self._folders.opened(shard) as folder, os.fdopen(open_file(name, folder), "rb") as file:
                size = os.fstat(file.fileno()).st_size - _CHECKSUM_LENGTH
                if size > limit:
                    return None
                checksum, data = file.read(_CHECKSUM_LENGTH), file.read(max(0, size))
                whole = checksum == _checksum(key, data)
                if whole:
                    with suppress(OSError):
                        _touch(file.fileno())
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(error)
            return None
        if not whole:
            self.drop(key)
            return None
        return data

    def keep(self, key: str, data: bytes, allowed: Callable[[], bool]) -> None:
        """Cache a copy in place of any other, if ``allowed`` returns True at that moment; otherwise have none.

        Args:
            key: The object's key.
            data: The object's bytes.
            allowed: Called, under the lock, just before the copy is published.
        """
        if not self._kept(key, data, allowed):
            self.drop(key)

    def drop(self, key: str) -> None:
        """Remove the copy. If the disk refuses, this process stops reading from the folder."""
        shard, name = _place(key)
        with self._lock:
            try:
                with self._folders.opened(shard) as folder, ExitStack() as stack:
                    check_regular(name, folder)
                    size_file: SizeFile | None = None
                    with suppress(OSError):
                        size_file = stack.enter_context(self._size_file())
                    size = check_regular(name, folder).st_size
                    os.unlink(name, dir_fd=folder)
                    if size_file is not None and (total := size_file.read()) is not None:
                        self.bytes = max(0, total - size)
                        size_file.write(self.bytes)
            except FileNotFoundError:
                return
            except OSError as error:
                self._distrusted = True
                self._warn(error)

    def _kept(self, key: str, data: bytes, allowed: Callable[[], bool]) -> bool:
        size = _CHECKSUM_LENGTH + len(data)
        if self._distrusted or size > self._max_bytes:
            return False
        shard, name = _place(key)
        temporary = f"{name}.{secrets.token_hex(8)}"
        try:
            self._writing.add(temporary)
            try:
                with (
                    self._folders.made(shard) as folder,
                    _written(temporary, folder, _checksum(key, data), data),
                    self._lock,
                    self._size_file() as size_file,
                ):
                    if not allowed():
                        return False
                    self._publish(temporary, name, folder, size, size_file)
            finally:
                self._writing.discard(temporary)
        except (BlockingIOError, FileNotFoundError):
            # Other processes use the folder, or have emptied it: no reason for a warning.
            return False
        except OSError as error:
            self._warn(error)
            return False
        return True

    def _publish(self, temporary: str, name: str, folder: int, size: int, size_file: SizeFile) -> None:
        total = size_file.read() if self._counted else None
        if total is None or total + size > self._max_bytes:
            total = self._make_room(size)
            self._counted = True
        size_file.write(total + size)
        replaced = 0
        with suppress(FileNotFoundError):
            replaced = check_regular(name, folder).st_size
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        self.bytes = max(size, total + size - replaced)
        if replaced:
            size_file.write(self.bytes)

    def _count_once(self) -> None:
        """Count the files when this process first uses the folder, unless another thread is counting."""
        if self._counted or not self._lock.acquire(blocking=False):
            return
        try:
            with suppress(OSError), self._size_file() as size_file:
                self.bytes = self._make_room(0)
                size_file.write(self.bytes)
                self._counted = True
        finally:
            self._lock.release()

    def _make_room(self, size: int) -> int:
        """Count all copies; remove the least recently used ones if ``size`` more bytes would exceed the bound.

        Temporary files of other processes, running or killed, are counted and removed like copies.
        """
        files = sorted(file for file in self._files() if file[2] not in self._writing)
        total = sum(size for _, size, _ in files)
        if total + size > self._max_bytes:
            enough = self._max_bytes - self._max_bytes // _ROOM_SHARE
            for _, freed, name in files:
                if total + size <= enough:
                    break
                with suppress(FileNotFoundError), self._folders.opened(name[:2]) as folder:
                    os.unlink(name, dir_fd=folder)
                total -= freed
        return total

    def _files(self) -> Iterator[tuple[int, int, str]]:
        """Yield for each file its time of last use (nanoseconds), its bytes and its name."""
        with self._folders.opened() as root, os.scandir(root) as shards:
            for shard in shards:
                if not (_SHARD.fullmatch(shard.name) and shard.is_dir(follow_symlinks=False)):
                    continue
                with self._folders.opened(shard.name) as folder, os.scandir(folder) as files:
                    for file in files:
                        if not (_FILE.fullmatch(file.name) and file.name.startswith(shard.name)):
                            continue
                        with suppress(FileNotFoundError):
                            status = file.stat(follow_symlinks=False)
                            if stat.S_ISREG(status.st_mode):
                                yield status.st_mtime_ns, status.st_size, file.name

    @contextmanager
    def _size_file(self) -> Iterator[SizeFile]:
        patience = _LOCK_PATIENCE if time.monotonic() >= self._lock_pause_ends else 0.0
        try:
            with self._folders.opened() as root, locked_size_file(_SIZE_FILE, root, patience) as size_file:
                yield size_file
        except BlockingIOError:
            self._lock_pause_ends = time.monotonic() + _LOCK_PAUSE
            raise

    def _reset_after_fork(self) -> None:
        """Reset in a forked child: the lock and the temporary files belong to threads of the parent."""
        self._lock = Lock()
        self._writing = set()

    def _path(self, key: str) -> Path:
        return self.folder.joinpath(*_place(key))

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            todo = f". {error.todo}" if isinstance(error, NotOursError) else ""
            _logger.warning(
                "the cache folder %s cannot be used (%s); continuing without it%s",
                self.folder,
                error.strerror or type(error).__name__,
                todo,
            )


def _place(key: str) -> tuple[str, str]:
    """Return the folder of the copy of ``key``, and its name."""
    name = blake3(key.encode()).hexdigest(_NAME_LENGTH)
    return name[:2], name


def _checksum(key: str, data: bytes) -> bytes:
    name = key.encode()
    digest = blake3(len(name).to_bytes(2, "big") + name, derive_key_context=_CHECKSUM_CONTEXT)
    return digest.update(data).digest(_CHECKSUM_LENGTH)


def _touch(descriptor: int) -> None:
    """Set the time of last use. The file system's own clock is too coarse to order uses."""
    now = _now()
    os.utime(descriptor, ns=(now, now))


@contextmanager
def _written(name: str, folder: int, *parts: bytes) -> Iterator[None]:
    """Create a file ``name`` of ``parts`` in the open ``folder``; remove it at the end unless the block renamed it."""
    try:
        descriptor = open_file(name, folder, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            write_all(descriptor, *parts)
            _touch(descriptor)
        finally:
            os.close(descriptor)
        yield
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
