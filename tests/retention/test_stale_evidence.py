"""What a process saw of a scope before it looked for a sweep proves nothing after it."""

import random
from datetime import timedelta
from pathlib import Path

import pytest

from coatcheck import Chain, Checkpoints, Encrypt, Keyring, Offload, PayloadCache, Store
from coatcheck.errors import CheckpointConflict, StoreUnavailable
from coatcheck.retention.rules import Action, RetentionRules
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.sweep_marks import SWEEP_LEASE
from coatcheck.stores.cached import CachedStore
from coatcheck.stores.memory import MemoryStore
from tests.retention.aged_store import AgedStore
from tests.retention.sweeping import (
    GRACE,
    KEY,
    LONG,
    TENANT,
    Live,
    chain_on,
    claimed,
    keys_of,
    scope_of,
    sweep_of,
)

CHECKPOINTS = RetentionRules(grace=GRACE, idle=GRACE)


def state(seed: int) -> bytes:
    return random.Random(seed).randbytes(2000)


async def test_a_state_that_was_restored_before_the_sweep_is_written_again() -> None:
    store = AgedStore(MemoryStore())
    first = Checkpoints(chain_on(store), run="r", tenant=TENANT)
    await first.save(state(1), 1)
    await store.age(LONG)
    await sweep_of(store, None, rules=CHECKPOINTS).run()  # marks
    await store.age(LONG)
    chain = chain_on(store)
    again = Checkpoints(chain, run="r", tenant=TENANT)
    assert await again.restore() == state(1)
    assert (await sweep_of(store, None, rules=CHECKPOINTS).run()).deleted > 0
    with pytest.raises(CheckpointConflict):
        await again.save(state(2), 2)
    again = Checkpoints(chain, run="r", tenant=TENANT)  # with all that the process knows
    await again.save(state(2), 2)
    await again.save(state(1), 3)
    assert await Checkpoints(chain_on(store), run="r", tenant=TENANT).restore() == state(1)


async def test_what_was_fetched_ahead_of_a_sweep() -> None:
    store = AgedStore(MemoryStore())
    scope = scope_of("r")
    chain = chain_on(store)
    await all_at_once(chain.encode(payload, scope) for payload in [state(1), state(2)])
    await store.age(LONG)
    await sweep_of(store, Live()).run()
    await store.age(LONG)
    sweep = sweep_of(store, Live())
    (prefix,) = await sweep._prefixes.of(scope)
    await claimed(store, prefix)  # a sweep is at it
    chain = chain_on(store)
    await chain.replaying(scope)
    with pytest.raises(StoreUnavailable):
        await chain.encode(state(1), scope)
    (claim,) = [key for key in await keys_of(store) if SWEEP_LEASE in key]
    await store.delete(claim)
    async for entry in store.list_objects(prefix):  # and it finishes
        await store.delete(entry.key)
    encoded = await chain.encode(state(1), scope)
    assert await chain_on(store).decode(encoded, scope) == state(1)


async def test_a_copy_on_the_disk(tmp_path: Path) -> None:
    inner = AgedStore(MemoryStore())

    def cached() -> Chain:
        return Chain(
            Encrypt(Keyring(KEY)), Offload(CachedStore(inner, tmp_path), over=256), cache=PayloadCache(2**22)
        )

    scope = scope_of("r")
    reference = await cached().put(state(1), scope)
    await inner.age(LONG)
    await sweep_of(inner, Live()).run()
    await inner.age(LONG)
    await sweep_of(inner, Live()).run()
    chain = cached()
    assert await chain.open_reference(reference, scope) == state(1)
    encoded = await chain.put(state(1), scope)
    assert await chain_on(inner).open_reference(encoded, scope) == state(1)


async def test_a_record_that_was_replaced_elsewhere_was_read_from_a_copy(tmp_path: Path) -> None:
    inner = MemoryStore()
    scope = {"run": "r", "tenant": TENANT}
    near = Checkpoints(chain_on(CachedStore(inner, tmp_path)), **scope)
    await near.save(state(1), 1)
    assert await near.restore() == state(1)
    await Checkpoints(chain_on(inner), **scope).save(state(2), 1)
    assert await near.restore() == state(2)


class LostAnswer(AgedStore):
    """The answer to the first deletion of an object is lost, and somebody writes it anew before anything else happens."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.lost: str | None = None

    async def delete(self, key: str) -> None:
        await super().delete(key)
        if self.lost is None and len(key.rpartition("/")[2]) == 64:
            self.lost = key
            await self.inner.create(key, b"written since")
            raise StoreUnavailable("no answer")


async def test_a_deletion_was_repeated_after_somebody_had_written_anew() -> None:
    store = LostAnswer(MemoryStore())
    chain = chain_on(store)
    await all_at_once(chain.encode(payload, scope_of("r")) for payload in [state(1), state(2)])
    await store.age(LONG)
    await sweep_of(store, Live()).run()
    await store.age(LONG)
    assert (await sweep_of(store, Live()).run()).of(Action.UNDER_WAY).scopes == 1
    assert store.lost is not None
    assert await store.get(store.lost) == b"written since"
    await store.age(timedelta(hours=2))
    await sweep_of(store, Live()).run()
    assert not [key for key in await keys_of(store) if SWEEP_LEASE in key]


async def test_a_reference_whose_bases_are_not_the_objects_opens() -> None:
    """As where the object was deleted with its scope, and made anew with other bases."""
    store = MemoryStore()
    scope = scope_of("r")
    chain = chain_on(store)
    first, second = [await chain.put(state(1) + state(turn), scope) for turn in (1, 2)]
    assert second.bases == (first.object_id,)
    (key,) = [key for key in await keys_of(store) if key.endswith(second.object_id.hex())]
    for other in await keys_of(store):
        await store.delete(other)
    await chain_on(store).put(state(1) + state(2), scope)
    assert await keys_of(store) == [key]
    assert await chain_on(store).open_reference(second, scope) == state(1) + state(2)
