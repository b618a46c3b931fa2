"""Renewal of locks, threads and connections in a forked child: those of the parent do not work there.

gunicorn with ``--preload``, multiprocessing and Celery fork a process that has already used its stores. Code that keeps a
lock, a thread or a connection for the lifetime of the process gets it here, or registers here how to replace it.
"""

import itertools
import os
import threading
from collections.abc import Callable
from types import MethodType
from typing import Any, Final
from weakref import ref

_LONGEST_WAIT: Final = 1.0
"""Seconds that a fork waits for a lock. A longer wait means that a lock is held during I/O, which :func:`new_lock` forbids."""


class _Process:
    """The process's work before and after a fork."""

    def __init__(self) -> None:
        self.renewals: dict[int, tuple[ref[object], Callable[[object], None]]] = {}
        self.locks: dict[int, ref[threading.Lock]] = {}
        self.abandoned: list[object] = []
        self._numbers = itertools.count()
        self._taken: list[threading.Lock] = []
        os.register_at_fork(
            before=self._before, after_in_parent=self._after_in_parent, after_in_child=self._after_in_child
        )

    def add_renewal(self, renew: Callable[[], None]) -> None:
        assert isinstance(renew, MethodType)
        number = next(self._numbers)
        # Not a WeakMethod: its callbacks fail while an interpreter ends.
        owner = ref(renew.__self__, lambda _: self.renewals.pop(number, None))
        self.renewals[number] = (owner, renew.__func__)

    def add_lock(self, lock: threading.Lock) -> None:
        number = next(self._numbers)
        self.locks[number] = ref(lock, lambda _: self.locks.pop(number, None))

    def _before(self) -> None:
        locks = [held() for held in list(self.locks.values())]
        self._taken = [lock for lock in locks if lock is not None and lock.acquire(timeout=_LONGEST_WAIT)]

    def _after_in_parent(self) -> None:
        for lock in self._taken:
            lock.release()
        self._taken = []

    def _after_in_child(self) -> None:
        self._taken = []
        for held in list(self.locks.values()):
            reinitialised: Any = held()
            if reinitialised is not None:
                reinitialised._at_fork_reinit()  # noqa: SLF001 - as the standard library does for its own
        for held_owner, renew in list(self.renewals.values()):
            owner = held_owner()
            if owner is not None:
                renew(owner)


_process: Final = _Process()


def new_lock() -> threading.Lock:
    """Return a lock for short work in memory. Never hold it while you wait for anything.

    A fork waits until the lock is free, so in the child it is free and the data that it guards is consistent.
    """
    lock = threading.Lock()
    _process.add_lock(lock)
    return lock


def after_fork(renew: Callable[[], None]) -> None:
    """Call ``renew`` in every child that is forked from now on, before anything else runs there.

    Args:
        renew: A bound method; called as long as its object lives, which this does not prolong. It replaces threads,
            connections and locks that are held during I/O, and must not wait.
    """
    _process.add_renewal(renew)


def abandon(inherited: object) -> None:
    """Keep an object for good that a forked child must neither use nor close, since the parent still uses it.

    For example, closing a connection of an event loop in the child would remove it from the parent's ``epoll``.
    """
    _process.abandoned.append(inherited)
