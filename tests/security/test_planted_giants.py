"""Whoever may write to a store can put a large object where a small one belongs: none of it is read into memory."""

from collections.abc import Awaitable, Callable

import pytest

from coatcheck import Checkpoints, CoatcheckError, MemoryStore, Scope
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.keys.key_store import NAMES, KeyStore, KeyVersion
from coatcheck.retention.live import Origin
from coatcheck.retention.origins import Origins
from coatcheck.storage.client import StoreClient
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.sweep_marks import SWEEP_MARK, deleting, lease, read_mark
from tests.chains import encrypted_chain, keys_in

GIANT = bytes(2**20)
VERSION = KeyVersion("ab" * 16, 1)
MARK_ID = bytes(16)


class Handed(MemoryStore):
    """Counts the bytes that it hands out."""

    handed = 0

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        data = await super().get(key, limit)
        self.handed += len(data)
        return data


async def _marks_of_a_sweep(store: Handed) -> None:
    prefixes = ScopePrefixes(encrypted_chain().sealings)
    (prefix,) = await prefixes.of(Scope("t", "run"))
    scope = await prefixes.sealer_at(prefix)
    for name in (SWEEP_MARK, lease(MARK_ID, 0), deleting(MARK_ID, 3)):
        await store.replace(prefix + name, GIANT)
        assert await read_mark(StoreClient(store), scope, name, None) is None


async def _record_of_a_checkpoint(store: Handed) -> None:
    await Checkpoints(encrypted_chain(store), run="run", tenant="t").save("state", 0)
    (record,) = [key for key in await keys_in(store) if "/step-" in key]
    await store.replace(record, GIANT)
    store.handed = 0
    with pytest.raises(CoatcheckError):
        await Checkpoints(encrypted_chain(store), run="run", tenant="t").restore()


async def _what_a_sweep_remembers(store: Handed) -> None:
    prefixes = ScopePrefixes(encrypted_chain().sealings)
    origins = Origins(StoreClient(store), prefixes, "temporal")
    (place,) = await prefixes.own_places("t")
    await store.replace(origins._key(place), GIANT)
    with pytest.raises(CoatcheckError):
        await origins.check({"t": Origin()}, moved=False)


async def _keys_of_tenants(store: Handed) -> None:
    records = KeyStore(store, 8.0)
    reads: dict[str, Callable[[], Awaitable[object]]] = {
        NAMES: records.names,
        VERSION.name: lambda: records.of(VERSION.tag),
        VERSION.tombstone: lambda: records.of(VERSION.tag),
    }
    for key, read in reads.items():
        await store.replace(key, GIANT)
        with pytest.raises(CoatcheckError):
            await read()
        await store.delete(key)


@pytest.mark.parametrize(
    "read", [_marks_of_a_sweep, _record_of_a_checkpoint, _what_a_sweep_remembers, _keys_of_tenants]
)
async def test_a_giant_in_the_place_of_something_small_was_read(
    read: Callable[[Handed], Awaitable[None]],
) -> None:
    store = Handed()
    await read(store)
    assert store.handed == 0
