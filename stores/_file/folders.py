"""Folders and files of this user, opened without following links and without blocking. POSIX only."""

import errno
import fcntl
import os
import pwd
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_KINDS: Final = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISREG, "a file"),
)


class NotOursError(OSError):
    """An error about a file or folder that is not ours; it is left unchanged.

    Args:
        what: The path and its fault.
        todo: The remedy.
    """

    def __init__(self, what: str, todo: str) -> None:
        super().__init__(errno.EPERM, what)
        self.todo = todo


class Folders:
    """The folders below ``root``, opened and created one name after the other.

    Each must belong to this user or root and be writable for nobody else, unless they are ``trusted``. Below the root no link
    is followed; in the path to the root, links of this user and of root are followed when it is first opened.
    Blocking; safe from several threads.

    Args:
        root: The top folder.
        trusted: Accept any owner and mode.
        synced: Make new folders durable.

    Methods raise only ``OSError``; :class:`NotOursError` for a folder with a wrong owner, mode or type.
    """

    def __init__(self, root: Path, *, trusted: bool, synced: bool) -> None:
        self.root = root
        self._trusted = trusted
        self._synced = synced
        self._resolved: Path | None = None

    @contextmanager
    def opened(self, *names: str) -> Iterator[int]:
        """Open the folder ``names`` below the root within the block; yield its descriptor.

        Raises:
            FileNotFoundError: It does not exist.
        """
        descriptor = self._open_root()
        try:
            for name in names:
                descriptor = self._exchanged(descriptor, name)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def made(self, *names: str) -> Iterator[int]:
        """Open the folder ``names`` below the root within the block; create and sync missing folders."""
        try:
            descriptor = self._open_root()
        except FileNotFoundError:
            self._make_root(self._resolve())
            descriptor = self._open_root()
        try:
            for name in names:
                try:
                    descriptor = self._exchanged(descriptor, name)
                except FileNotFoundError:
                    self._make(name, descriptor)
                    descriptor = self._exchanged(descriptor, name)
            yield descriptor
        finally:
            os.close(descriptor)

    def open_below(self, name: str, parent: int) -> int:
        """Open the folder ``name`` in the open folder ``parent``."""
        try:
            descriptor = os.open(name, _FOLDER, dir_fd=parent)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                raise _in_the_way(f"{path_of(parent)}/{name}", os.lstat(name, dir_fd=parent)) from error
            raise
        return self._checked(descriptor)

    def _make_root(self, path: Path) -> None:
        if path.is_dir():
            return
        self._make_root(path.parent)
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._make(path.name, parent)
        finally:
            os.close(parent)

    def _make(self, name: str, parent: int) -> None:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
        # Also if another writer made it: its entry may not be durable yet.
        if self._synced:
            os.fsync(parent)

    def _exchanged(self, parent: int, name: str) -> int:
        descriptor = self.open_below(name, parent)
        os.close(parent)
        return descriptor

    def _open_root(self) -> int:
        path = self._resolved or self._resolve()
        try:
            descriptor = os.open(path, _FOLDER)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR} and path.parent.is_dir():
                raise _in_the_way(str(path), os.lstat(path)) from error
            raise
        checked = self._checked(descriptor)
        self._resolved = path
        return checked

    def _checked(self, descriptor: int) -> int:
        status = os.fstat(descriptor)
        others = bool(status.st_mode & _OTHERS_WRITE)
        if self._trusted or (_is_trusted(status.st_uid) and not others):
            return descriptor
        path = path_of(descriptor)
        os.close(descriptor)
        raise NotOursError(
            f"{path} belongs to {_user(status.st_uid)} and has mode {stat.S_IMODE(status.st_mode):04o}, but this process"
            f" runs as {_user(os.geteuid())}: {'group or others' if others else 'another user'} can write there",
            f"Give it to this user alone (chown, chmod go-w {path}), or name a folder inside it that does not exist yet: it"
            " is created correctly. If Kubernetes (fsGroup) or SMB sets owner and mode, and everybody who can write there"
            " is trusted, pass trust_folder=True (in a URL, ?trust_folder=true).",
        )

    def _resolve(self) -> Path:
        """Return the path to the root with its links resolved."""
        path = self.root.absolute()
        for part in (*reversed(path.parents), path):
            try:
                status = part.lstat()
            except FileNotFoundError:
                break
            if stat.S_ISLNK(status.st_mode) and not (self._trusted or _is_trusted(status.st_uid)):
                raise NotOursError(
                    f"{part} is a symbolic link that belongs to {_user(status.st_uid)}",
                    "Find out who made it; name the folder itself.",
                )
        return Path(os.path.realpath(path))


def open_file(name: str, folder: int, flags: int = os.O_RDONLY) -> int:
    """Open a regular file and return its descriptor.

    Args:
        name: The file's name.
        folder: Descriptor of its folder.
        flags: Flags of ``os.open``; with ``O_CREAT`` a new file is readable by its owner only.

    Raises:
        NotOursError: It is not a regular file.
        OSError: It does not exist, or cannot be opened.
    """
    try:
        descriptor = os.open(name, flags | _FILE, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR}:
            raise _in_the_way(f"{path_of(folder)}/{name}", os.lstat(name, dir_fd=folder)) from error
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        path = f"{path_of(folder)}/{name}"
        os.close(descriptor)
        raise _in_the_way(path, status)
    return descriptor


def check_regular(name: str, folder: int) -> os.stat_result:
    """Return the status of the regular file ``name`` in the open ``folder``.

    Raises:
        NotOursError: It is not a regular file.
        FileNotFoundError: It does not exist.
    """
    status = os.lstat(name, dir_fd=folder)
    if not stat.S_ISREG(status.st_mode):
        raise _in_the_way(f"{path_of(folder)}/{name}", status)
    return status


def write_all(descriptor: int, *parts: bytes) -> None:
    """Write ``parts`` completely, one after the other."""
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[os.write(descriptor, view) :]


def path_of(descriptor: int) -> str:
    """Return the path of an open folder, for messages."""
    try:
        if sys.platform == "darwin":
            return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        return "a folder"


def _in_the_way(path: str, status: os.stat_result) -> NotOursError:
    kind = next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "of an unknown type")
    return NotOursError(
        f"{path} is {kind}, which coatcheck did not create", "Find out who did, and remove it."
    )


def _is_trusted(user: int) -> bool:
    return user in {0, os.geteuid()}


def _user(number: int) -> str:
    try:
        return f"user {number} ({pwd.getpwuid(number).pw_name})"
    except KeyError:
        return f"user {number}"
