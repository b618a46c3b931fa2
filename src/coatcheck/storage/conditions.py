"""A check that a store keeps its promise about ``create``, made before keys or sweeps rely on it."""

import asyncio
import secrets
from contextlib import suppress
from typing import Final
from weakref import WeakValueDictionary

from coatcheck.contracts.store import Store
from coatcheck.errors import CoatcheckError, ConfigError
from coatcheck.runtime.retry import retry
from coatcheck.runtime.single_flight import SingleFlight
from coatcheck.storage.client import DEFAULT_DEADLINE

PROBE_FOLDER: Final = "coatcheck-probe/"
_SIZE: Final = 64
"""Bytes of each probe; random, so never the same twice."""
_CLEAN_UP_SECONDS: Final = 2.0

_proven: WeakValueDictionary[int, Store] = WeakValueDictionary()
"""Stores of this process that passed the check, by identity: a store may be unhashable."""
_probing: SingleFlight[None] = SingleFlight()


async def check_create_conditions(store: Store) -> None:
    """Check that of several creates of one object in ``store`` exactly one succeeds.

    Some services that speak a known protocol ignore its conditions, so that writers silently overwrite each other. The
    check runs once per process, with an object of its own that it deletes; a store that failed is checked again.

    Raises:
        ConfigError: A second create succeeds, or overwrites the object.
        StoreError: The store cannot or will not do what the check needs.
    """
    if _proven.get(id(store)) is not store:
        await _probing.run(str(id(store)), lambda: _to_its_end(store))
        _proven[id(store)] = store


async def _to_its_end(store: Store) -> None:
    """Run the probe to its end even if the caller is cancelled: a late write would outlive the clean-up."""
    task = asyncio.ensure_future(retry(lambda: _probe(store), DEFAULT_DEADLINE))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _probe(store: Store) -> None:
    key = f"{PROBE_FOLDER}{secrets.token_hex(16)}"
    bodies = [secrets.token_bytes(_SIZE) for _ in range(3)]
    first = bodies[:2]
    try:
        # Let both end: one that is cancelled because the other failed may still take effect, after the clean-up.
        outcomes = await asyncio.gather(*(store.create(key, body) for body in first), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        created = [outcome is True for outcome in outcomes]
        again = await store.create(key, bodies[-1])
        kept = await store.get_uncached(key, _SIZE)
    finally:
        await _remove(store, key)
    if created.count(True) != 1 or again or kept != first[created.index(True)]:
        raise ConfigError(
            f"{store!r} creates an object that already exists: the service ignores the condition, so writers would "
            "overwrite each other",
            "Use a service with conditional writes (S3: If-None-Match, GCS: ifGenerationMatch), or the real endpoint "
            "instead of a gateway or cache. Nothing but a probe was written.",
        )


async def _remove(store: Store, key: str) -> None:
    # Credentials may allow writes but no deletes; the object then stays, which says nothing about conditions.
    with suppress(CoatcheckError, TimeoutError):
        async with asyncio.timeout(_CLEAN_UP_SECONDS):
            await store.delete(key)
            await store.delete_versions(key)
