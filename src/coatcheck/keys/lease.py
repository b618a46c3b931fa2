"""Keys that stay usable for as long as the attempt lasts which they were loaded for."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from coatcheck.contracts.keys import Key

_current: ContextVar["KeyLease"] = ContextVar("coatcheck_key_lease")


class KeyLease:
    """The keys of one attempt of an engine at a step, a handler or an activity. Safe to use from several threads.

    An engine runs a step first, and has its result sealed afterwards. If the key had to be loaded again in between and could
    not be, the engine would run the step once more, with all that it does to the world. So what was loaded within
    :meth:`active`, or after :meth:`begin`, can be had there until :meth:`end`, whatever ``max_age`` says. The next attempt
    loads anew.
    """

    def __init__(self) -> None:
        self._keys: dict[tuple[object, str, bytes], Key] = {}
        self._primaries: dict[tuple[object, str], Key] = {}
        self._ended = False

    @contextmanager
    def active(self) -> Iterator[None]:
        """Use the lease within the block, and in the tasks and threads that are started there."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def begin(self) -> None:
        """Use the lease from now on, where no block can be put around the attempt: in this task, or in this thread."""
        _current.set(self)

    def end(self) -> None:
        """Let go of the keys, also in tasks that outlive the attempt."""
        self._ended = True
        self._keys.clear()
        self._primaries.clear()

    def find(self, owner: object, tenant: str, key_id: bytes | None) -> Key | None:
        """Return a key that ``owner`` has loaded for the tenant; the primary where ``key_id`` is None."""
        if key_id is None:
            return self._primaries.get((owner, tenant))
        return self._keys.get((owner, tenant, key_id))

    def keep(self, owner: object, tenant: str, key: Key, *, primary: bool) -> None:
        """Have a key that ``owner`` has loaded; the first primary remains the primary."""
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
    """Have what is loaded within the block until it ends; within another such block, until that ends."""
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
    """Return the lease of the attempt that the caller is part of; None outside of any."""
    return _current.get(None)
