"""A process-wide LRU cache that is bounded in bytes and shared by several owners."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from coatcheck.runtime.forks import after_fork as register_after_fork
from coatcheck.runtime.forks import new_lock


class Sized(Protocol):
    """An item of the cache."""

    @property
    def cost(self) -> int:
        """Bytes of memory in use, roughly."""
        ...

    @property
    def is_out_of_date(self) -> bool:
        """True if it has to be replaced by a new one."""
        ...


_T = TypeVar("_T", bound=Sized)


class SizedLru(Generic[_T]):
    """The most recently used items, up to a number of bytes. Safe to use from several threads.

    Args:
        max_size: Bytes of all items together.
        let_go: Called with each dropped item, in any thread.
        after_fork: Called with each item in a forked child.
    """

    def __init__(
        self,
        max_size: int,
        *,
        let_go: Callable[[_T], None] | None = None,
        after_fork: Callable[[_T], None] | None = None,
    ) -> None:
        self._max_size = max_size
        self._let_go = let_go
        self._after_fork = after_fork
        self._things: OrderedDict[tuple[int, Hashable], tuple[_T, int]] = OrderedDict()
        # Owners can be garbage-collected at any moment, also while the lock is held: their items are dropped later.
        self._gone: deque[int] = deque()
        self._lock = new_lock()
        self.size = 0
        """Bytes."""
        register_after_fork(self._renew)

    def owned(self, owner: int) -> list[_T]:
        """Return all items of an owner, without marking them as used."""
        with self._lock:
            return [thing for (its_owner, _), (thing, _) in self._things.items() if its_owner == owner]

    def of(self, owner: int, name: Hashable, make: Callable[[], _T]) -> _T:
        """Return an owner's item and make it the most recently used; drop others if the cache is full.

        Args:
            owner: The owner's number.
            name: The item's name, unique for the owner.
            make: Makes the item if there is none, or it is out of date.
        """
        key = owner, name
        dropped: list[_T] = []
        with self._lock:
            self._drop_of_the_gone(dropped)
            thing = self._things[key][0] if key in self._things else None
            if thing is None or thing.is_out_of_date:
                self._drop(key, dropped)
                thing = make()
            else:
                self.size -= self._things.pop(key)[1]
            cost = thing.cost
            self._things[key] = thing, cost
            self.size += cost
            while self.size > self._max_size and len(self._things) > 1:
                self._drop(next(iter(self._things)), dropped)
        self._say(dropped)
        return thing

    def drop(self, which: Callable[[_T], bool]) -> list[_T]:
        """Drop all items for which ``which`` returns True, and return them."""
        dropped: list[_T] = []
        with self._lock:
            for key in [key for key, (thing, _) in self._things.items() if which(thing)]:
                self._drop(key, dropped)
        self._say(dropped)
        return dropped

    def forget(self, owner: int) -> None:
        """Drop all items of an owner, at the next use of the cache."""
        self._gone.append(owner)

    def _drop_of_the_gone(self, dropped: list[_T]) -> None:
        gone = set()
        while self._gone:
            gone.add(self._gone.popleft())
        if gone:
            for key in [key for key in self._things if key[0] in gone]:
                self._drop(key, dropped)

    def _drop(self, key: tuple[int, Hashable], dropped: list[_T]) -> None:
        found = self._things.pop(key, None)
        if found is not None:
            self.size -= found[1]
            dropped.append(found[0])

    def _say(self, dropped: list[_T]) -> None:
        if self._let_go is not None:
            for thing in dropped:
                self._let_go(thing)

    def _renew(self) -> None:
        if self._after_fork is not None:
            for thing, _ in self._things.values():
                self._after_fork(thing)
