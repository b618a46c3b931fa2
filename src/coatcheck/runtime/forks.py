"""Starting anew in a forked child, where threads, event loops and the far ends of connections stayed behind.

gunicorn with ``--preload``, multiprocessing and Celery fork a process that has used its stores already. Whoever keeps a
lock, a thread or a connection for the length of the process takes it from here, or says here how to get another one.
"""

import itertools
import os
import threading
from collections.abc import Callable
from types import MethodType
from typing import Any, Final
from weakref import ref

_LONGEST_WAIT: Final = 1.0
"""Seconds that a fork waits for a lock: whoever holds one longer holds it over I/O, against what :func:`new_lock` says."""


class _Process:
    """The things that this process has to do around its forks."""

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
    """Return a lock for short work in memory, never held while anything is waited for.

    A fork waits until it is free: the child finds it free, and what it guards whole.
    """
    lock = threading.Lock()
    _process.add_lock(lock)
    return lock


def after_fork(renew: Callable[[], None]) -> None:
    """Call ``renew`` in every child that is forked from now on, before anything else runs there.

    Args:
        renew: A method, bound to an object; it is called for as long as that object lives, which this does not prolong.
            It replaces threads, connections and locks that are held over I/O, and waits for nothing.
    """
    _process.add_renewal(renew)


def abandon(inherited: object) -> None:
    """Keep for good what a forked child must neither use nor close: the parent works with the other end of it.

    Connections of an event loop are so: to close one in the child takes it out of the parent's ``epoll``.
    """
    _process.abandoned.append(inherited)
