"""Deltas, cache and read-ahead through the chain: few requests, small objects, and never other bytes."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable

import pytest

from coatcheck import (
    Chain,
    CoatcheckError,
    Encrypt,
    IntegrityError,
    Keyring,
    MemoryStore,
    Offload,
    PayloadCache,
    PayloadNotFound,
    Reference,
    Scope,
    StoreDenied,
    StoredObject,
    StoreUnavailable,
    Zstd,
)
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.format.envelope import EnvelopeHeader, object_context
from coatcheck.format.suites import scope_sealer
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.cache import _BASE_COST, _BODY_COST, cost_of, store_name
from coatcheck.telemetry import Outcome
from tests.chains import KEY, SCOPE, Reverse, keys_in


class Counting(MemoryStore):
    """Counts requests, and turns: all requests that are under way at once are answered together."""

    def __init__(self) -> None:
        super().__init__()
        self.creates = self.gets = self.lists = self.rounds = 0
        self._waiting: list[asyncio.Future[None]] = []
        self.list_error: Exception | None = None

    def reset(self) -> None:
        self.creates = self.gets = self.lists = self.rounds = 0

    async def create(self, key: str, data: bytes) -> bool:
        self.creates += 1
        return await super().create(key, data)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        self.gets += 1
        await self._answered()
        return await super().get(key, limit)

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        self.lists += 1
        await self._answered()
        if self.list_error:
            raise self.list_error
        async for entry in super().list_objects(prefix):
            yield entry

    async def _answered(self) -> None:
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            self.rounds += 1
            loop.call_later(0.005, self._answer)
        await turn

    def _answer(self) -> None:
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)


def chain_on(store: MemoryStore, cache: int = 2**26) -> Chain:
    return Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store, over=256), cache=PayloadCache(cache))


def turns(count: int, seed: int = 0) -> list[bytes]:
    said = b""
    forms = []
    for turn in range(count):
        said += random.Random(seed * 1000 + turn).randbytes(1500).hex().encode()
        forms.append(said)
    return forms


async def written(store: MemoryStore, forms: list[bytes]) -> list[bytes]:
    """What another process journaled of them."""
    chain = chain_on(store)
    return [await chain.encode(form, SCOPE) for form in forms]


async def key_of(store: MemoryStore, journal: bytes) -> str:
    object_id = Reference.from_bytes(journal).object_id.hex()
    return next(key for key in await keys_in(store) if key.endswith(object_id))


def cached(store: MemoryStore, key: str) -> str:
    """The name of an object's payload in caches."""
    return f"{store_name(store)}/{key}"


async def test_growing_payloads_are_deltas_with_all_their_bases_in_the_reference() -> None:
    store = Counting()
    chain = chain_on(store)
    journals = [await chain.encode(form, SCOPE) for form in turns(20)]
    depths = [len(Reference.from_bytes(journal).bases) for journal in journals]
    assert max(depths) <= 4
    assert sum(depth > 0 for depth in depths) >= 14
    whole = sum(map(len, turns(20)))
    stored = sum([entry.size async for entry in store.list_objects()])
    assert stored < whole / 5
    assert store.creates == 20


async def test_the_last_of_many_takes_one_round_of_gets_in_a_cold_process() -> None:
    store = Counting()
    chain = chain_on(store)
    journals = [await chain.encode(form, SCOPE) for form in turns(31)]
    store.reset()
    assert await chain_on(store).open(journals[-1], SCOPE) == turns(31)[-1]
    assert store.gets <= 6
    assert store.rounds == 1


async def test_a_warm_replay_makes_no_request() -> None:
    store = Counting()
    chain = chain_on(store)
    journals = await all_at_once(chain.encode(payload, SCOPE) for payload in turns(10))
    store.reset()
    assert await all_at_once(chain.decode(payload, SCOPE) for payload in journals) == turns(10)
    assert await all_at_once(chain.encode(payload, SCOPE) for payload in turns(10)) == journals
    assert (store.creates, store.gets, store.lists) == (0, 0, 0)


async def test_a_cold_replay_gets_each_object_once_lists_once_and_creates_nothing() -> None:
    store = Counting()
    chain = chain_on(store)
    forms = turns(60)
    journals = [await chain.encode(form, SCOPE) for form in forms]
    store.reset()
    cold = chain_on(store)
    for form, journal in zip(forms, journals, strict=True):
        assert await cold.open(journal, SCOPE) == form
        assert await cold.encode(form, SCOPE) == journal
    assert (store.creates, store.lists) == (0, 1)
    assert store.gets <= 60
    assert store.rounds < 10
    assert len(await keys_in(store)) == 60


async def test_a_cold_replay_that_began_by_encoding_offered_the_store_what_it_had() -> None:
    store = Counting()
    forms = turns(60)
    chain = chain_on(store)
    journals = [await chain.encode(form, SCOPE) for form in forms]
    store.reset()
    cold = chain_on(store)
    await cold.replaying(SCOPE)
    for form, journal in zip(forms, journals, strict=True):
        assert await cold.encode(form, SCOPE) == journal
        assert await cold.open(journal, SCOPE) == form
    assert (store.creates, store.lists) == (0, 1)
    assert store.gets <= 60
    assert store.rounds < 10


async def test_a_replay_by_a_process_that_knows_the_run_makes_no_request() -> None:
    store = Counting()
    chain = chain_on(store)
    journals = await all_at_once(chain.encode(payload, SCOPE) for payload in turns(10))
    store.reset()
    await chain.replaying(SCOPE)
    assert await all_at_once(chain.encode(payload, SCOPE) for payload in turns(10)) == journals
    assert (store.creates, store.gets, store.lists) == (0, 0, 0)


async def test_a_replay_of_a_run_that_stored_nothing_yet_goes_on_with_it() -> None:
    store = Counting()
    chain = chain_on(store)
    await chain.replaying(SCOPE)
    await chain.encode(b"small", SCOPE)
    assert store.lists == 0
    for form in turns(5):
        assert await chain_on(store).open(await chain.encode(form, SCOPE), SCOPE) == form
    assert store.creates == 5


async def test_a_worker_that_recovered_goes_on_with_the_same_delta_chain() -> None:
    store = Counting()
    forms = turns(24)
    chain = chain_on(store)
    journals = [await chain.encode(form, SCOPE) for form in forms[:21]]
    cold = chain_on(store)
    for journal in journals:
        await cold.open(journal, SCOPE)
    for form in forms[21:]:
        journal = await cold.encode(form, SCOPE)
        assert Reference.from_bytes(journal).bases
        assert await chain_on(store).open(journal, SCOPE) == form


@pytest.mark.parametrize("last", [1, 10, 11, 21, 23, 30])
async def test_a_worker_that_restored_the_last_alone_goes_on_as_if_it_had_made_all(last: int) -> None:
    store, forms = Counting(), turns(40)
    chain = chain_on(store)
    journals = [await chain.encode(form, SCOPE) for form in forms[: last + 1]]
    cold = chain_on(store)
    assert await cold.open(journals[-1], SCOPE) == forms[last]
    elsewhere = MemoryStore()
    unbroken = chain_on(elsewhere)
    for form in forms[: last + 1]:
        await unbroken.encode(form, SCOPE)
    for form in forms[last + 1 :]:
        assert await cold.encode(form, SCOPE) == await unbroken.encode(form, SCOPE)


async def test_what_a_restored_payload_is_built_on_stays_in_memory_compressed() -> None:
    store, forms = Counting(), turns(70)
    journals = await written(store, forms)
    root = max(n for n, journal in enumerate(journals) if not Reference.from_bytes(journal).bases)
    cold = chain_on(store)
    await cold.open(journals[root + 59], SCOPE)
    delta_chain = [root + place for place in (58, 56, 48, 32, 0)]
    stored = [len(await store.get(await key_of(store, journals[n]))) for n in delta_chain]
    beside = cost_of(b"") + sum(_BODY_COST + bits * _BASE_COST for bits in (4, 3, 2, 1, 0))
    assert 0.9 < (cold.cache.stats.size - len(forms[root + 59]) - beside) / sum(stored) < 1
    store.reset()
    for n in delta_chain:
        assert await cold.open(journals[n], SCOPE) == forms[n]
    assert store.gets == 0


async def test_what_is_built_on_a_second_time_is_decoded_for_good() -> None:
    store, forms = Counting(), turns(40)
    journals = await written(store, forms)
    root = max(n for n, journal in enumerate(journals) if not Reference.from_bytes(journal).bases)
    cold = chain_on(store)
    key = cached(store, await key_of(store, journals[root + 12]))
    held = []
    for place in (13, 14, 12):
        assert await cold.open(journals[root + place], SCOPE) == forms[root + place]
        held.append(cold.cache.get(key))
    assert held == [None, forms[root + 12], forms[root + 12]]


@pytest.mark.parametrize("order", ["backwards", "shuffled"])
async def test_a_run_that_was_read_in_another_order_fetched_bases_again(order: str) -> None:
    store, forms = Counting(), turns(60)
    journals = await written(store, forms)
    store.reset()
    cold = chain_on(store)
    steps = list(range(60))[::-1] if order == "backwards" else random.Random(1).sample(range(60), 60)
    for n in steps:
        assert await cold.open(journals[n], SCOPE) == forms[n]
    assert store.gets <= 60


async def test_what_another_chain_of_the_process_fetched_is_no_base_for_this_one() -> None:
    """It may have codecs that this one lacks, and a store where the object is built on others."""
    shared, forms = PayloadCache(2**26), turns(3)
    here, there = Offload(MemoryStore(), over=256), Offload(MemoryStore(), over=256)
    chain = Chain(Zstd(), Encrypt(Keyring(KEY)), here, cache=shared)
    for form in forms[:2]:
        await chain.encode(form, SCOPE)
    other = Chain(Zstd(), Reverse(), Encrypt(Keyring(KEY)), there, cache=shared)
    theirs = [await other.encode(form, SCOPE) for form in forms[:2]]
    shared.clear()
    # Of the first form, which the third would build on, only the other's body is in memory.
    await other.open(theirs[1], SCOPE)
    journal = await chain.encode(forms[2], SCOPE)
    assert Reference.from_bytes(journal).bases == ()
    assert await chain.open(journal, SCOPE) == forms[2]
    assert Reference.from_bytes(await other.encode(forms[2], SCOPE)).bases


@pytest.mark.parametrize("meanwhile", ["decoded", "evicted"])
async def test_what_was_held_as_a_body_was_decoded_or_evicted_by_another_before_its_turn(
    meanwhile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, forms = Counting(), turns(40)
    journals = await written(store, forms)
    root = max(n for n, journal in enumerate(journals) if not Reference.from_bytes(journal).bases)
    cold = chain_on(store)
    await cold.open(journals[root + 7], SCOPE)
    key, form = cached(store, await key_of(store, journals[root + 6])), forms[root + 6]
    assert cold.cache.get(key) is None

    async def later(size: int, limit: int, work: Callable[..., object], *args: object) -> object:
        if meanwhile == "decoded":
            cold.cache.put(key, form)
        else:
            cold.cache.clear()
        monkeypatch.undo()
        return work(*args)

    monkeypatch.setattr("coatcheck.pipeline.decode.off_loop", later)
    assert await cold.open(journals[root + 6], SCOPE) == form


async def test_without_its_base_in_memory_a_payload_is_stored_whole() -> None:
    store = Counting()
    chain = chain_on(store, cache=0)
    for form in turns(8):
        assert Reference.from_bytes(await chain.encode(form, SCOPE)).bases == ()


async def test_deltas_never_cross_a_scope() -> None:
    chain = chain_on(Counting())
    form = turns(5)[-1]
    for scope in (Scope("a", "1"), Scope("a", "2"), Scope("b", "1"), Scope("a", "1", engine="temporal")):
        assert Reference.from_bytes(await chain.encode(form, scope)).bases == ()
        assert Reference.from_bytes(await chain.encode(form + b"x" * 999, scope)).bases


async def test_a_second_writer_lists_the_bases_of_what_is_stored_not_of_its_own_attempt() -> None:
    store = Counting()
    first, second = chain_on(store), chain_on(store)
    forms = turns(4)
    for form in forms[:-1]:
        await first.encode(form, SCOPE)
    journal = await first.encode(forms[-1], SCOPE)
    assert Reference.from_bytes(journal).bases
    assert await second.encode(forms[-1], SCOPE) == journal


async def test_a_reference_whose_object_was_rewritten_as_a_delta_still_opens() -> None:
    store = Counting()
    forms = turns(4)
    whole = await chain_on(store).encode(forms[-1], SCOPE)
    assert Reference.from_bytes(whole).bases == ()
    (key,) = await keys_in(store)
    await store.delete(key)
    chain = chain_on(store)
    for form in forms:
        await chain.encode(form, SCOPE)
    assert await chain_on(store).open(whole, SCOPE) == forms[-1]


@pytest.mark.parametrize("asked_for", [2, 4])
async def test_what_was_held_of_an_object_did_not_fit_the_one_that_was_made_anew(asked_for: int) -> None:
    store = Counting()
    first = random.Random(0).randbytes(15_000).hex().encode()
    forms = [first + form for form in turns(5)]
    references = [Reference.from_bytes(journal) for journal in await written(store, forms[:4])]
    assert references[3].bases == (references[2].object_id, references[0].object_id)
    cold = chain_on(store, cache=20_000)  # room for small bodies only: the third form's, not the first's
    assert await cold.open_reference(references[3], SCOPE) == forms[3]
    for key in await keys_in(store):
        await store.delete(key)
    anew = await written(store, forms[2:])
    assert [Reference.from_bytes(journal).bases for journal in anew[::2]] == [(), (references[2].object_id,)]
    assert await cold.open(anew[asked_for - 2], SCOPE) == forms[asked_for]


@pytest.mark.parametrize(("cache", "outcome"), [(20_000, Outcome.FETCHED), (2**26, Outcome.KNOWN)])
async def test_a_payload_is_known_only_if_no_object_was_fetched_for_it(
    cache: int, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Counting()
    first = random.Random(0).randbytes(15_000).hex().encode()
    journals = await written(store, [first + form for form in turns(4)])
    cold = chain_on(store, cache)
    await cold.open(journals[3], SCOPE)
    await cold.close()
    store.reset()
    outcomes: list[Outcome] = []
    monkeypatch.setattr("coatcheck.pipeline.decode.decoded", lambda outcome, *_: outcomes.append(outcome))
    await cold.open(journals[2], SCOPE)
    assert outcomes == [outcome]
    assert (store.gets == 0) == (outcome is Outcome.KNOWN)


async def damaged(store: Counting, reference: Reference, at: int) -> str:
    """Delete the base at this position; its id."""
    base = reference.bases[at].hex()
    (key,) = [key for key in await keys_in(store) if key.endswith(base)]
    await store.delete(key)
    return base


@pytest.mark.parametrize("at", [0, 1, -1])
async def test_a_missing_base_is_named(at: int) -> None:
    store = Counting()
    chain = chain_on(store)
    journals = [await chain.encode(form, SCOPE) for form in turns(16)]
    journal = max(journals, key=lambda journal: len(Reference.from_bytes(journal).bases))
    base = await damaged(store, Reference.from_bytes(journal), at)
    with pytest.raises(PayloadNotFound, match=base):
        await chain_on(store).open(journal, SCOPE)


async def test_every_flip_in_a_delta_and_in_its_base_is_found_and_named() -> None:
    store = Counting()
    chain = chain_on(store)
    forms = turns(3)
    journals = [await chain.encode(form, SCOPE) for form in forms]
    reference = next(r for r in map(Reference.from_bytes, journals) if r.bases)
    cold = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store, over=256), cache=PayloadCache(0))
    for object_id in (reference.object_id, reference.bases[0]):
        (key,) = [key for key in await keys_in(store) if key.endswith(object_id.hex())]
        good = await MemoryStore.get(store, key)
        for position in range(0, len(good), 7):
            await store.replace(key, good[:position] + bytes([good[position] ^ 4]) + good[position + 1 :])
            with pytest.raises(CoatcheckError, match=object_id.hex()):
                await cold.open(reference.to_bytes(), SCOPE)
        await store.replace(key, good)
    assert len(await cold.open(reference.to_bytes(), SCOPE)) == reference.size


async def test_a_listing_that_is_denied_is_said_once_and_done_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Counting()
    chain = chain_on(store)
    journals = [await chain.encode(form, SCOPE) for form in turns(5)]
    store.list_error = StoreDenied("no listing")
    cold = chain_on(store)
    with caplog.at_level(logging.WARNING, logger="coatcheck"):
        for journal, form in zip(journals, turns(5), strict=True):
            assert await cold.open(journal, SCOPE) == form
        other = await chain.encode(turns(1, seed=9)[0], Scope("other", "run"))
        await cold.open(other, Scope("other", "run"))
    assert len([record for record in caplog.records if "listing the store is denied" in record.message]) == 1


async def test_a_listing_that_fails_costs_nothing_but_speed() -> None:
    store = Counting()
    chain = chain_on(store)
    journals = [await chain.encode(form, SCOPE) for form in turns(5)]
    store.list_error = StoreUnavailable("down", retry_after=60)
    cold = chain_on(store)
    for journal, form in zip(journals, turns(5), strict=True):
        assert await cold.open(journal, SCOPE) == form
    await cold.close()


async def test_a_listed_object_that_is_torn_is_replaced_not_trusted() -> None:
    store = Counting()
    chain = chain_on(store)
    forms = turns(3)
    journals = [await chain.encode(form, SCOPE) for form in forms]
    key = next(
        key for key in await keys_in(store) if key.endswith(Reference.from_bytes(journals[1]).object_id.hex())
    )
    await store.replace(key, b"torn")
    cold = chain_on(store)
    assert await cold.open(journals[0], SCOPE) == forms[0]
    journal = await cold.encode(forms[1], SCOPE)
    assert await chain_on(store).open(journal, SCOPE) == forms[1]


async def test_a_hundred_decodes_of_one_reference_are_one_get() -> None:
    store = Counting()
    journal = await chain_on(store).encode(turns(2)[-1], SCOPE)
    store.reset()
    cold = chain_on(store)
    found = await all_at_once(cold.decode(payload, SCOPE) for payload in [journal] * 100)
    assert found == [turns(2)[-1]] * 100
    assert store.gets == 1


async def test_payloads_that_were_opened_together_fetched_the_objects_they_build_on_once_each() -> None:
    store, forms = Counting(), turns(60)
    chain = chain_on(store)
    journals = [await chain.encode(form, SCOPE) for form in forms]
    store.reset()
    chain = chain_on(store)
    assert await all_at_once(chain.decode(payload, SCOPE) for payload in journals) == forms
    assert (store.gets, store.rounds) == (60, 1)


async def test_what_is_known_of_a_scope_is_forgotten_before_a_sweep_could_have_taken_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Counting()
    chain = chain_on(store)
    form = turns(3)[-1]
    journal = await chain.encode(form, SCOPE)
    await asyncio.gather(*[store.delete(key) for key in await keys_in(store)])
    monkeypatch.setattr("coatcheck.storage.scoped_store.TRUSTED_FOR", -1.0)
    assert await chain.encode(form, SCOPE) == journal
    assert len(await keys_in(store)) == 1


async def test_deltas_compose_with_codecs_behind_them() -> None:
    store = Counting()
    chain = Chain(Zstd(), Reverse(), Offload(store, over=256), cache=PayloadCache(2**26))
    journals = [await chain.encode(form, SCOPE) for form in turns(6)]
    assert any(Reference.from_bytes(journal).bases for journal in journals)
    cold = Chain(Zstd(), Reverse(), Offload(store, over=256), cache=PayloadCache(2**26))
    assert await all_at_once(cold.decode(payload, SCOPE) for payload in journals) == turns(6)


async def test_cancelling_a_cold_decode_at_every_await_leaks_nothing() -> None:
    store = Counting()
    chain = chain_on(store)
    forms = turns(8)
    journals = [await chain.encode(form, SCOPE) for form in forms]
    for steps in range(12):
        cold = chain_on(store)
        task = asyncio.create_task(cold.open(journals[-1], SCOPE))
        for _ in range(steps):
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await cold.open(journals[-1], SCOPE) == forms[-1]
        await cold.close()
        assert len(asyncio.all_tasks()) == 1


async def test_a_base_that_is_replaced_by_a_forged_one_is_an_error() -> None:
    store = Counting()
    chain = chain_on(store)
    journals = [await chain.encode(form, SCOPE) for form in turns(3)]
    other = [await chain.encode(form, SCOPE) for form in turns(3, seed=5)]
    reference = next(r for r in map(Reference.from_bytes, journals) if r.bases)
    base, foreign = reference.bases[0].hex(), Reference.from_bytes(other[0]).object_id.hex()
    keys = {key.rsplit("/", 1)[1]: key for key in await keys_in(store)}
    await store.replace(keys[base], await MemoryStore.get(store, keys[foreign]))
    with pytest.raises(IntegrityError, match=base):
        await chain_on(store).open(reference.to_bytes(), SCOPE)


@pytest.mark.parametrize("more", [-1, 1])
async def test_an_authentic_object_of_another_size_is_not_what_the_reference_means(more: int) -> None:
    store, encrypt = Counting(), Encrypt(Keyring(KEY))
    journal = await chain_on(store).encode(turns(1)[0], SCOPE)
    reference = Reference.from_bytes(journal)
    other = bytes(reference.size + more)
    of = scope_sealer(encrypt, SCOPE, reference.key_id)
    header = EnvelopeHeader(of.suite, of.key_id, of.run_tag, ("zstd",), len(other))
    context = object_context(reference.object_id)
    sealed = of.sealer.seal(header.to_bytes(), context, Zstd().encode(other) or b"")
    await store.replace(await key_of(store, journal), sealed)
    with pytest.raises(IntegrityError, match="not the one that the reference was written for"):
        await chain_on(store).open(journal, SCOPE)


async def test_a_replay_that_starts_before_what_was_read_first_is_fetched_ahead_too() -> None:
    """A recovering worker takes the newest step first, and replays the workflow from its beginning afterwards."""
    store = Counting()
    forms = turns(60)
    journals = [await chain_on(store).encode(form, SCOPE) for form in forms]
    store.reset()
    cold = chain_on(store)
    assert await cold.open(journals[-1], SCOPE) == forms[-1]
    for form, journal in zip(forms, journals, strict=True):
        assert await cold.open(journal, SCOPE) == form
    assert store.gets <= 60
    assert store.rounds < 10
