"""Copies of objects in files below a folder, bounded in bytes."""

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
from coatcheck.stores._cache.size_file import Ledger, ledger_of
from coatcheck.stores._file.folders import Folders, NotOursError, check_regular, open_file, write_all

_CHECKSUM_CONTEXT = "coatcheck cached object v1: key length, key, data"
"""Changes with the layout of the files, so that those of another layout are no longer read."""
_CHECKSUM_LENGTH = 16
_NAME_LENGTH = 16
_SHARD = re.compile(r"[0-9a-f]{2}")
_FILE = re.compile(r"[0-9a-f]{32}(\.[0-9a-f]{16})?")
_LEDGER = "bytes"
_ROOM_SHARE = 10
"""A tenth of the bound is freed at once: looking through all files for each single one would be slow."""
_LEDGER_PATIENCE = 0.25
"""Seconds that a write waits for other processes."""
_LEDGER_PAUSE = 10.0
"""Seconds in which nobody waits for the ledger again after it was locked for too long."""

_now = time.time_ns

_logger = logging.getLogger("coatcheck")


class CacheFolder:
    """Files ``<2 hex>/<32 hex>`` below ``folder``, each a checksum over key and data, then the data.

    Blocking, for any number of threads; several processes may share the folder. No method raises ``OSError``:
    what the disk cannot do is logged once and left undone. Removes only files that have such names, and follows no link.

    Args:
        folder: Where they are.
        max_bytes: The most bytes that they may have together.
        trusted: Use the folder whoever owns and may write it.
    """

    def __init__(self, folder: Path, max_bytes: int, *, trusted: bool = False) -> None:
        self.folder = folder
        self.bytes = 0
        """What the folder held when this process last changed it or looked through it, all processes' files."""
        self._folders = Folders(folder, trusted=trusted, synced=False)
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._writing: set[str] = set()
        """Files of this process that are not yet copies: each is counted once it becomes one."""
        self._looked = False
        self._distrusted = False
        self._warned = False
        self._ledger_pause_ends = 0.0
        after_fork(self._start_anew)

    def read(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes | None:
        """Return the copy, now the most recently used one; None if there is no whole one of up to ``limit`` bytes."""
        if self._distrusted:
            return None
        self._look_once()
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
        """Put a copy in place of any other, if ``allowed`` says so at that moment; otherwise have none."""
        if not self._kept(key, data, allowed):
            self.drop(key)

    def drop(self, key: str) -> None:
        """Have no copy. Should the disk refuse to let go of it, nothing is read from it any more."""
        shard, name = _place(key)
        with self._lock:
            try:
                with self._folders.opened(shard) as folder, ExitStack() as held:
                    check_regular(name, folder)
                    ledger: Ledger | None = None
                    with suppress(OSError):
                        ledger = held.enter_context(self._ledger())
                    size = check_regular(name, folder).st_size
                    os.unlink(name, dir_fd=folder)
                    if ledger is not None and (total := ledger.read()) is not None:
                        self.bytes = max(0, total - size)
                        ledger.write(self.bytes)
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
                    self._ledger() as ledger,
                ):
                    if not allowed():
                        return False
                    self._publish(temporary, name, folder, size, ledger)
            finally:
                self._writing.discard(temporary)
        except (BlockingIOError, FileNotFoundError):
            # Other processes are busy with the folder, or have emptied it: no reason for a warning.
            return False
        except OSError as error:
            self._warn(error)
            return False
        return True

    def _publish(self, temporary: str, name: str, folder: int, size: int, ledger: Ledger) -> None:
        total = ledger.read() if self._looked else None
        if total is None or total + size > self._max_bytes:
            total = self._make_room(size)
            self._looked = True
        ledger.write(total + size)
        replaced = 0
        with suppress(FileNotFoundError):
            replaced = check_regular(name, folder).st_size
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        self.bytes = max(size, total + size - replaced)
        if replaced:
            ledger.write(self.bytes)

    def _look_once(self) -> None:
        """Count what is there when this process first uses the folder, unless another thread is at it."""
        if self._looked or not self._lock.acquire(blocking=False):
            return
        try:
            with suppress(OSError), self._ledger() as ledger:
                self.bytes = self._make_room(0)
                ledger.write(self.bytes)
                self._looked = True
        finally:
            self._lock.release()

    def _make_room(self, size: int) -> int:
        """Count all copies; remove the least recently used if ``size`` more would be too many bytes.

        What other processes are writing, or left half written when they were killed, is counted and removed like
        everything else.
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
        """When each file was last used (nanoseconds), its bytes, its name."""
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
    def _ledger(self) -> Iterator[Ledger]:
        patience = _LEDGER_PATIENCE if time.monotonic() >= self._ledger_pause_ends else 0.0
        try:
            with self._folders.opened() as root, ledger_of(_LEDGER, root, patience) as ledger:
                yield ledger
        except BlockingIOError:
            self._ledger_pause_ends = time.monotonic() + _LEDGER_PAUSE
            raise

    def _start_anew(self) -> None:
        """In a forked child: the parent's threads hold the lock, and write what it is writing."""
        self._lock = Lock()
        self._writing = set()

    def _path(self, key: str) -> Path:
        return self.folder.joinpath(*_place(key))

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            todo = f". {error.todo}" if isinstance(error, NotOursError) else ""
            _logger.warning(
                "the cache folder %s cannot be used (%s); going on without it%s",
                self.folder,
                error.strerror or type(error).__name__,
                todo,
            )


def _place(key: str) -> tuple[str, str]:
    """The folder of the copy of ``key``, and its name."""
    name = blake3(key.encode()).hexdigest(_NAME_LENGTH)
    return name[:2], name


def _checksum(key: str, data: bytes) -> bytes:
    name = key.encode()
    digest = blake3(len(name).to_bytes(2, "big") + name, derive_key_context=_CHECKSUM_CONTEXT)
    return digest.update(data).digest(_CHECKSUM_LENGTH)


def _touch(descriptor: int) -> None:
    """The file system's own clock is too coarse to order uses by."""
    now = _now()
    os.utime(descriptor, ns=(now, now))


@contextmanager
def _written(name: str, folder: int, *parts: bytes) -> Iterator[None]:
    """Have a new file ``name`` of ``parts`` in the open ``folder`` until the block ends, or renames it."""
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
