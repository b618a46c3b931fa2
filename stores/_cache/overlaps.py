"""Detection of concurrent calls for one key: a copy from a call that a change overlapped may be out of date."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from coatcheck.runtime.forks import after_fork, new_lock


@dataclass(slots=True, eq=False)
class Call:
    """One call for a key, in progress."""

    changes: bool
    undisturbed: bool
    """True while this call is in progress and no other call has changed the object since it began."""


class Overlaps:
    """The calls in progress. Safe from several threads; never waits for I/O."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._under_way: dict[str, list[Call]] = {}
        after_fork(self._reset_after_fork)

    @contextmanager
    def watch(self, key: str, *, changes: bool) -> Iterator[Call]:
        """Register a call for the length of the block.

        Args:
            key: The object's key.
            changes: The call replaces or deletes the object, or drops its copy.
        """
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
            # A thread may still work for a cancelled call, while later changes no longer find it here.
            call.undisturbed = False
            with self._lock:
                others.remove(call)
                if not others:
                    self._under_way.pop(key, None)

    def _reset_after_fork(self) -> None:
        """Reset in a forked child: the calls belong to the parent."""
        self._under_way = {}
