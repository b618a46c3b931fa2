"""Memory of a process that lives for long: bounded in bytes, whatever it was used for."""

import gc
import os
import tracemalloc
from collections.abc import Callable

import pytest

from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, PayloadCache, Scope
from coatcheck.contracts.store import Store
from coatcheck.format.checksum import Checksum
from coatcheck.format.envelope import Body, EnvelopeHeader, object_context
from coatcheck.format.suites import scope_sealer
from coatcheck.storage.base_index import Member
from coatcheck.storage.cache import store_name
from coatcheck.storage.scoped_store import PROCESS_SCOPES, ScopeState
from coatcheck.storage.sized_lru import SizedLru
from tests.chains import KEY, SCOPE, keys_in, plain_chain

MIB = 2**20


def taken(work: Callable[[], object]) -> int:
    """Bytes that are in use afterwards and were not before."""
    gc.collect()
    tracemalloc.start()
    kept = [work()]
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    kept.clear()
    return size


def of_tiny_payloads(cache: PayloadCache) -> None:
    for number in range(40_000):
        cache.put(f"{number:032}/{number:032}/{number:064}", number.to_bytes(8))


def of_tiny_bodies(cache: PayloadCache) -> None:
    for number in range(20_000):
        header = EnvelopeHeader(1, bytes(4), os.urandom(16), ("zstd-delta",), number, (os.urandom(32),) * 3)
        body = Body(os.urandom(32), header, number.to_bytes(8))
        cache.put_body(f"{number:032}/{number:032}/{number:064}", body, cache)


@pytest.mark.parametrize("fill", [of_tiny_payloads, of_tiny_bodies])
def test_a_cache_of_tiny_entries_grew_far_beyond_its_bound(fill: Callable[[PayloadCache], None]) -> None:
    def filled() -> PayloadCache:
        cache = PayloadCache(4 * MIB)
        fill(cache)
        return cache

    assert taken(filled) < 5 * MIB


def test_base_indexes_were_not_counted() -> None:
    def filled() -> SizedLru[ScopeState]:
        scopes: SizedLru[ScopeState] = SizedLru(8 * MIB)
        store = MemoryStore()
        for scope in range(400):
            for _ in range(20):
                state = scopes.of(0, str(scope), lambda: ScopeState(store, "a/b/"))
                prints = frozenset(int.from_bytes(os.urandom(8)) for _ in range(8))
                state.index.add(_member(), prints)
                state.wrote(os.urandom(32), (os.urandom(32), os.urandom(32)))
        return scopes

    assert taken(filled) < 11 * MIB


def _member() -> Member:
    return Member(os.urandom(32), 3, (os.urandom(32), os.urandom(32)))


async def test_what_a_chain_knew_of_scopes_goes_with_it() -> None:
    before = PROCESS_SCOPES.size
    chains = [
        Chain(Encrypt(Keyring(KEY)), Offload(MemoryStore(), over=0), cache=PayloadCache(0)) for _ in range(20)
    ]
    for number in range(1000):
        await chains[number % 20].encode(b"payload", Scope("t", str(number)))
    assert PROCESS_SCOPES.size > before
    chains.clear()
    gc.collect()
    await plain_chain().encode(os.urandom(2_000), SCOPE)
    assert PROCESS_SCOPES.size < before + 20_000


async def test_a_planted_object_of_one_store_answered_for_another() -> None:
    """Without keys anyone can write a sound envelope: what it holds says nothing of the same id elsewhere."""
    here, there, cache = MemoryStore(), MemoryStore(), PayloadCache(MIB)
    chain, other = (Chain(Offload(store, over=0), cache=cache) for store in (here, there))
    journal = await chain.encode(b"the payload", SCOPE)
    assert await other.encode(b"the payload", SCOPE) == journal
    cache.clear()
    await plant(there, b"not payload")
    with pytest.raises(Exception, match="contains another payload than its name says"):
        await other.open(journal, SCOPE)
    assert await chain.open(journal, SCOPE) == b"the payload"
    assert store_name(here) != store_name(there) == store_name(there)


async def plant(store: MemoryStore, payload: bytes) -> None:
    """Put a sound envelope of another payload in place of the only object."""
    (key,) = await keys_in(store)
    of = scope_sealer(Checksum(), SCOPE, bytes(4))
    header = EnvelopeHeader(of.suite, of.key_id, of.run_tag, (), len(payload)).to_bytes()
    await store.replace(
        key, of.sealer.seal(header, object_context(bytes.fromhex(key.rpartition("/")[2])), payload)
    )


def test_stores_are_told_apart_even_where_one_took_the_place_of_another() -> None:
    gone: Store = MemoryStore()
    name, place = store_name(gone), id(gone)
    del gone
    others: list[Store] = []
    while not any(id(store) == place for store in others):
        assert len(others) < 10_000
        others.append(MemoryStore())
    assert name not in {store_name(store) for store in others}
