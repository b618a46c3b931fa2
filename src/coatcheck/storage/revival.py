"""What a writer does before it relies on something that it did not write."""

from typing import Final

from coatcheck.concurrency import all_at_once
from coatcheck.contracts import StoredObject
from coatcheck.errors import PayloadNotFound, StoreDenied, StoreUnavailable
from coatcheck.format.suites import ScopeSealer
from coatcheck.storage.access import Access
from coatcheck.storage.markers import SWEEP_ALIVE, SWEEP_LEASE, SWEEP_MARK, lease, lease_of, read_mark

_MOST_LEASES: Final = 100
"""That are looked at. A sweep makes one, and one more each time that it was interrupted."""


async def revive(access: Access, scope: ScopeSealer) -> None:
    """Take a scope back from a sweep that has marked it. One bounded request, where none has.

    The writer writes :data:`SWEEP_ALIVE` and then looks for a lease; the sweep makes its lease and then looks for
    :data:`SWEEP_ALIVE`. So at least one of them sees the other (Dekker, 1965: stores give what was written to whoever asks
    afterwards). What is in the scope has to be looked for after this returns, not before.

    A mark that is not authentic may stand where somebody overwrote one, so the scope is taken for marked; a lease that is not
    authentic means nothing.

    Raises:
        StoreUnavailable: It is too late: the scope is being swept.
        StoreError: The store cannot or will not say.
    """
    marks = await _listed(access, scope.prefix + SWEEP_MARK, 1)
    if marks == []:
        return
    try:
        mark = await read_mark(access, scope, SWEEP_MARK, marks[0].modified if marks else None)
    except PayloadNotFound:
        return
    except StoreDenied:
        if marks:
            raise
        return  # without the right to list, S3 calls denied what is missing
    await access.replace(scope.prefix + SWEEP_ALIVE, b"")
    leases = await _listed(access, scope.prefix + SWEEP_LEASE, _MOST_LEASES + 1)
    if leases is not None and len(leases) > _MOST_LEASES:
        raise StoreUnavailable(
            f"the scope has more than {_MOST_LEASES} leases of sweeps, most of which no sweep made",
            f"Find out who writes to the store, and delete what begins with {SWEEP_LEASE!r} there.",
            scope.prefix,
        )
    names = [(entry.key.removeprefix(scope.prefix), entry) for entry in leases or ()]
    looks = [_is_lease(access, scope, name, entry) for name, entry in names if lease_of(name)]
    if leases is None and mark is not None:
        looks = [_is_lease(access, scope, lease(mark.id, 0), None)]
    if any(await all_at_once(looks)):
        raise StoreUnavailable(
            "the scope is being swept, since the engine knew none of its runs",
            "Retry. If a sweep was interrupted, run it again: the next one an hour later finishes what is left.",
        )


async def _listed(access: Access, prefix: str, count: int) -> list[StoredObject] | None:
    """None where the store may not be listed. Caches and replicas have no part in a listing."""
    try:
        return await access.list_first(prefix, count)
    except StoreDenied:
        return None


async def _is_lease(access: Access, scope: ScopeSealer, name: str, entry: StoredObject | None) -> bool:
    try:
        return await read_mark(access, scope, name, entry.modified if entry else None) is not None
    except PayloadNotFound:
        return False
    except StoreDenied:
        if entry is not None:
            raise
        return False
