"""What a store holds is counted, and what deltas save is about what they do save."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

from coatcheck import Chain, Checkpoints, Encrypt, Keyring, MemoryStore, Offload, Scope, Zstd
from coatcheck.audit.usage import OLDER, Census, Kind, Usage, _choose
from coatcheck.contracts.store import StoredObject
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.store_time import store_time
from coatcheck.storage.sweep_marks import SWEEP_MARK
from tests.retention.aged_store import AgedStore
from tests.retention.sweeping import KEY, TENANT, chain_on, keys_of


def conversation(turns: int) -> list[bytes]:
    source = random.Random(3)
    said = [source.randbytes(5000).hex() for _ in range(turns)]
    return ["".join(said[: turn + 1]).encode() for turn in range(turns)]


async def usage(store: AgedStore, sample: int = 100, tenant: str = TENANT) -> Usage:
    names = dict.fromkeys(await ScopePrefixes(chain_on(store).sealings).of_tenant(tenant), tenant)
    return await Census(store, names, sample=sample).usage(await store_time(store))


async def test_kinds_ages_and_tenants() -> None:
    store = AgedStore(MemoryStore())
    await chain_on(store).encode(conversation(1)[0], Scope(TENANT, "old"))
    await store.age(timedelta(days=200))
    chain = chain_on(store)
    await Checkpoints(chain, run="agent", tenant=TENANT).save(conversation(1)[0], 1)
    await chain.encode(conversation(1)[0], Scope("another", "run"))
    (first, *_) = await keys_of(store)
    await store.create(first.rpartition("/")[0] + f"/{SWEEP_MARK}", b"")
    await store.create("keys/something", b"12345")
    found = await usage(store)
    assert {kind: amount.count for kind, amount in found.by_kind.items()} == {
        Kind.OBJECT: 3,
        Kind.RECORD: 1,
        Kind.MARK: 1,
        Kind.OTHER: 1,
    }
    assert {name: amount.count for name, amount in found.by_age.items() if amount.count} == {
        "1d": 3,
        OLDER: 1,
    }
    named = found.by_tenant.pop(TENANT)
    (unnamed,) = found.by_tenant.items()
    assert len(unnamed[0]) == 32
    assert named.count + unnamed[1].count == 5
    everything = [entry.size async for entry in store.list_objects()]
    assert sum(amount.size for amount in found.by_kind.values()) == sum(everything)


async def test_what_deltas_save_is_about_what_they_save() -> None:
    store, whole = AgedStore(MemoryStore()), MemoryStore()
    turns = conversation(20)
    for turn in turns:
        await chain_on(store).encode(turn, Scope(TENANT, "run"))
    chain = chain_on(store)
    for turn in turns:
        await chain.encode(turn, Scope(TENANT, "another run"))
    for number, turn in enumerate(turns):
        without = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(whole, over=256))
        await without.encode(turn, Scope(TENANT, f"run {number}"))
    found = await usage(store)
    assert found.sample.deltas.count > 15
    assert found.sample.saved is not None
    stored = found.by_kind[Kind.OBJECT].size
    would_be = 2 * sum([entry.size async for entry in whole.list_objects()])
    assert 0.8 < (1 + found.sample.saved) * stored / would_be < 1.25


async def test_nothing_is_read_without_a_sample_and_an_empty_store_is_no_error() -> None:
    store = AgedStore(MemoryStore())
    assert (await usage(store)).sample.saved is None
    await chain_on(store).encode(conversation(1)[0], Scope(TENANT, "run"))
    assert (await usage(store, sample=0)).sample.whole.count == 0


def test_every_object_is_as_likely_to_be_in_the_sample() -> None:
    entries = [StoredObject(str(number), 0, datetime.now(UTC)) for number in range(10)]
    counts: Counter[str] = Counter()
    for _ in range(20_000):
        chosen: list[StoredObject] = []
        for number, entry in enumerate(entries):
            _choose(chosen, entry, number + 1, 3)
        assert len({entry.key for entry in chosen}) == 3
        counts.update(entry.key for entry in chosen)
    assert all(5_500 < counts[str(number)] < 6_500 for number in range(10))
