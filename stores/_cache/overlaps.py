"""Which calls for one key ran at the same time: a copy that a change overlapped may be out of date."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from coatcheck.runtime.forks import after_fork, new_lock


@dataclass(slots=True, eq=False)
class Call:
    """One call for a key, while it is under way."""

    changes: bool
    undisturbed: bool
    """No other call has changed the object since this one began, and this one is not over."""


class Overlaps:
    """Keeps the calls that are under way. Safe from several threads; nothing here waits for I/O."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._under_way: dict[str, list[Call]] = {}
        after_fork(self._start_anew)

    @contextmanager
    def watch(self, key: str, *, changes: bool) -> Iterator[Call]:
        """A call for ``key`` that lasts as long as the block; ``changes`` if it replaces or deletes the object."""
        with self._lock:
            others = self._under_way.setdefault(key, [])
            call = Call(changes, undisturbed=not any(other.changes for other in others))
            if changes:
                for other in others:
                    other.undisturbed = False
            others.append(call)
        try:
            yield call
        finally:
            # A thread may still be at work for a cancelled call, and later changes no longer see it here.
            call.undisturbed = False
            with self._lock:
                others.remove(call)
                if not others:
                    self._under_way.pop(key, None)

    def _start_anew(self) -> None:
        """In a forked child: what is under way is under way in the parent."""
        self._under_way = {}
