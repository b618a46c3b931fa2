"""What a writer does before it relies on something that it did not write."""

from coatcheck.errors import PayloadNotFound, StoreDenied, StoreUnavailable
from coatcheck.storage.access import Access
from coatcheck.storage.markers import ALIVE, CONDEMNED, TOMBSTONE, claim


async def revive(access: Access, prefix: str) -> None:
    """Take a scope back from a sweep that has marked it. One listing, where none has.

    The writer writes :data:`ALIVE` and then looks for a claim; the sweep makes its claim and then looks for
    :data:`ALIVE`. So at least one of them sees the other (Dekker, 1965: stores give what was written to whoever asks
    afterwards). What is in the scope has to be looked for after this returns, not before.

    Raises:
        StoreUnavailable: It is too late: the scope is being swept.
        StoreError: The store cannot or will not say.
    """
    if not await _is_there(access, prefix + TOMBSTONE, prefix + TOMBSTONE):
        return
    await access.replace(prefix + ALIVE, b"")
    if await _is_there(access, prefix + CONDEMNED, prefix + claim(0)):
        raise StoreUnavailable(
            "the scope is being swept, since the engine knew none of its runs",
            "Retry. If a sweep was interrupted, run it again: the next one an hour later finishes what is left.",
        )


async def _is_there(access: Access, start: str, key: str) -> bool:
    """Whether a key begins with ``start``. ``key`` is the one that is there if any is."""
    try:
        # Caches and replicas have no part in a listing.
        return bool(await access.list_first(start, 1))
    except StoreDenied:
        await access.forget(key)
    try:
        await access.get(key, 0)
    except (PayloadNotFound, StoreDenied):
        # Without the right to list, S3 calls denied what is missing.
        return False
    return True
