"""The time by a store's clock: the only clock by which the ages of its objects can be told."""

import secrets
from contextlib import suppress
from datetime import datetime
from typing import Final

from coatcheck.contracts.store import Store
from coatcheck.errors import StoreDenied, StoreUnavailable
from coatcheck.storage.client import StoreClient

CLOCKS: Final = "sweep/clock-"
"""Start of the keys of the objects by which the time is learnt."""
_SECONDS: Final = 120.0
"""Seconds for a request, with all attempts."""


async def store_time(store: Store) -> datetime:
    """Return the time by the store's clock. Writes an object to learn it, and deletes it.

    Raises:
        StoreError: The store cannot or will not do it.
    """
    key = f"{CLOCKS}{secrets.token_hex(8)}"
    client = StoreClient(store, _SECONDS)
    await client.create(key, b"")
    try:
        entries = await client.list_first(key, 1)
        if not entries:
            raise StoreUnavailable(
                "the store does not list an object that was just written",
                "Check what else deletes from it.",
                key,
            )
        return entries[0].modified
    finally:
        with suppress(StoreDenied):  # as by object lock
            await client.delete(key)
            await client.delete_versions(key)
