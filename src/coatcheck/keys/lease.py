"""Leases: keys that stay usable until the attempt that loaded them ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from coatcheck.contracts.keys import Key

_current: ContextVar["KeyLease"] = ContextVar("coatcheck_key_lease")


class KeyLease:
    """The keys of an engine's attempt at one step, handler or activity. Safe to use from several threads.

    An engine first runs a step and then seals its result. If the key expired in between and could not be loaded again, the
    engine would repeat the step and its side effects. So keys that are loaded within :meth:`active`, or after
    :meth:`begin`, stay usable there until :meth:`end`, whatever ``max_age`` is. The next attempt loads them again.
    """

    def __init__(self) -> None:
        self._keys: dict[tuple[object, str, bytes], Key] = {}
        self._primaries: dict[tuple[object, str], Key] = {}
        self._ended = False

    @contextmanager
    def active(self) -> Iterator[None]:
        """Use the lease in the block, and in tasks and threads that are started there."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def begin(self) -> None:
        """Use the lease from now on in this task or thread, if no block can be put around the attempt."""
        _current.set(self)

    def end(self) -> None:
        """Drop the keys, also for tasks that outlive the attempt."""
        self._ended = True
        self._keys.clear()
        self._primaries.clear()

    def find(self, owner: object, tenant: str, key_id: bytes | None) -> Key | None:
        """Return a key that ``owner`` has loaded for the tenant; the primary if ``key_id`` is None."""
        if key_id is None:
            return self._primaries.get((owner, tenant))
        return self._keys.get((owner, tenant, key_id))

    def keep(self, owner: object, tenant: str, key: Key, *, primary: bool) -> None:
        """Add a key that ``owner`` has loaded.

        Args:
            owner: The cache that it comes from.
            tenant: The tenant's name.
            key: The key.
            primary: True if it is the primary. The first primary stays the primary.
        """
        if self._ended:
            return
        self._keys[owner, tenant, key.id] = key
        if primary:
            self._primaries.setdefault((owner, tenant), key)

    def key_ids(self, owner: object, tenant: str) -> list[bytes]:
        """Return the ids of all keys that ``owner`` has loaded for the tenant."""
        return [key_id for of, whose, key_id in list(self._keys) if (of, whose) == (owner, tenant)]


@contextmanager
def leased() -> Iterator[None]:
    """Keep keys that are loaded in the block usable until it ends; in a nested block, until the outer one ends."""
    if current_lease() is not None:
        yield
        return
    lease = KeyLease()
    try:
        with lease.active():
            yield
    finally:
        lease.end()


def current_lease() -> KeyLease | None:
    """Return the lease of the current attempt; None if there is none."""
    return _current.get(None)
