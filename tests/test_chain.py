"""The way of a payload: there and back, byte for byte, or a typed error."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck import (
    Chain,
    CoatcheckError,
    Codec,
    ConfigError,
    Encrypt,
    FormatError,
    IntegrityError,
    Key,
    Keyring,
    KeyUnavailable,
    LimitExceeded,
    MemoryStore,
    Offload,
    PayloadCache,
    PayloadNotFound,
    Reference,
    Scope,
    Sealing,
    StoreUnavailable,
    Zstd,
)
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.format.wire import MAGIC
from coatcheck.runtime.concurrency import all_at_once
from tests.chains import (
    CODECS,
    KEY,
    OTHER_KEY,
    SCOPE,
    SEALINGS,
    Reverse,
    encrypted_chain,
    keys_in,
    plain_chain,
)

LOOKS_LIKE_OURS = MAGIC + b"\x01\x01\x00" + bytes(60)


@pytest.mark.parametrize("over", [None, 0, 100], ids=["inline", "offload-all", "offload-large"])
@pytest.mark.parametrize("sealing", SEALINGS, ids=["plain", "encrypted"])
@pytest.mark.parametrize(
    "codecs", CODECS, ids=lambda codecs: "+".join(codec.name for codec in codecs) or "none"
)
def test_arbitrary_bytes_come_back_through_every_combination(
    codecs: tuple[Codec, ...], sealing: tuple[Sealing, ...], over: int | None
) -> None:
    offload = () if over is None else (Offload(MemoryStore(), over=over),)
    chain = Chain(*codecs, *sealing, *offload)

    @given(
        data=st.one_of(
            st.binary(max_size=2000),
            st.binary(max_size=20).map(lambda data: data * 300),
            st.binary(max_size=40).map(lambda data: MAGIC + data),
        ),
        tenant=st.text(min_size=1, max_size=5).filter(_encodable),
        run=st.none() | st.text(min_size=1, max_size=5).filter(_encodable),
    )
    @settings(max_examples=60, deadline=None)
    def round_trip(data: bytes, tenant: str, run: str | None) -> None:
        scope = Scope(tenant, run)

        async def there_and_back() -> None:
            journal = await chain.encode(data, scope)
            assert await chain.decode(journal, scope) == data
            assert await chain.encode(data, scope) == journal

        asyncio.run(there_and_back())

    round_trip()


def _encodable(text: str) -> bool:
    return text.isprintable()


@pytest.mark.parametrize("make", [encrypted_chain, plain_chain])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        LOOKS_LIKE_OURS,
        MAGIC,
        b"\x00" * 50 * 2**20,
        b"".join(n.to_bytes(4, "big") for n in range(2**18)),
    ],
    ids=["empty", "one byte", "looks like ours", "magic", "50 MiB", "1 MiB"],
)
async def test_payloads_at_the_edges_come_back(make: type[Chain], data: bytes) -> None:
    chain = make()
    journal = await chain.encode(data, SCOPE)
    assert await chain.decode(journal, SCOPE) == data


async def test_our_own_envelopes_and_references_are_payloads_like_any_other() -> None:
    chain = encrypted_chain()
    envelope = await chain.encode(b"small", SCOPE)
    reference = await chain.encode(bytes(range(256)) * 9, SCOPE)
    for ours in (envelope, reference):
        again = await chain.encode(ours, SCOPE)
        assert again != ours
        assert await chain.decode(again, SCOPE) == ours


async def test_what_is_not_ours_passes_through_untouched() -> None:
    chain = encrypted_chain()
    for data in (b"", b'{"a": 1}', b"\xc0\xa7", b"\xff" * 100):
        assert await chain.decode(data, SCOPE) is data
        with pytest.raises(FormatError):
            await chain.open(data, SCOPE)


async def test_small_payloads_stay_inline_and_large_ones_leave_a_reference() -> None:
    store = MemoryStore()
    chain = encrypted_chain(store, over=1000)
    await chain.encode(bytes(range(256)) * 3, SCOPE)
    assert await keys_in(store) == []
    journal = await chain.encode(
        bytes(range(256)) + b"".join(n.to_bytes(2, "big") for n in range(3000)), SCOPE
    )
    assert len(await keys_in(store)) == 1
    assert len(journal) <= 120


async def test_the_threshold_counts_bytes_after_compression() -> None:
    store = MemoryStore()
    chain = encrypted_chain(store, over=1000)
    await chain.encode(b"a" * 1_000_000, SCOPE)
    assert await keys_in(store) == []


async def test_a_keyless_chain_leaves_alone_what_sealing_would_only_make_larger() -> None:
    chain = plain_chain()
    assert await chain.encode(b'{"ok":true}', SCOPE) == b'{"ok":true}'


async def test_the_same_payload_is_one_object_and_one_reference() -> None:
    store = MemoryStore()
    chain = encrypted_chain(store)
    data = bytes(range(256)) * 20 + b"".join(n.to_bytes(2, "big") for n in range(3000))
    journals = await all_at_once(chain.encode(payload, SCOPE) for payload in [data] * 20)
    assert len(set(journals)) == 1
    assert len(await keys_in(store)) == 1


async def test_ids_never_cross_a_scope_or_a_key() -> None:
    store = MemoryStore()
    data = b"".join(n.to_bytes(2, "big") for n in range(3000))
    scopes = [Scope("a"), Scope("b"), Scope("a", "1"), Scope("a", "2"), Scope("b", "1")]
    chains = [
        encrypted_chain(store),
        plain_chain(store),
        Chain(Zstd(), Encrypt(Keyring(OTHER_KEY)), Offload(store, over=256)),
    ]
    for chain in chains:
        for scope in scopes:
            await chain.encode(data, scope)
    keys = await keys_in(store)
    assert len(keys) == len(chains) * len(scopes)
    assert len({key.rsplit("/", 1)[1] for key in keys}) == len(keys)


async def test_object_keys_say_nothing_of_tenant_and_run() -> None:
    store = MemoryStore()
    for chain in (encrypted_chain(store), plain_chain(store)):
        await chain.encode(b"".join(n.to_bytes(2, "big") for n in range(3000)), Scope("acme", "order-7"))
    for key in await keys_in(store):
        tenant, run, name = key.split("/")
        assert (len(tenant), len(run), len(name)) == (32, 32, 64)
        assert set(tenant + run + name) <= set("0123456789abcdef")


async def test_batches_keep_order_and_count() -> None:
    chain = encrypted_chain()
    payloads = [n.to_bytes(2, "big") * (n * 40) for n in range(40)]
    journals = await all_at_once(chain.encode(payload, SCOPE) for payload in payloads)
    assert await all_at_once(chain.decode(payload, SCOPE) for payload in journals) == payloads


async def test_the_first_error_of_a_batch_is_raised_as_it_is() -> None:
    chain = encrypted_chain()
    journal = await chain.encode(b"x", SCOPE)
    with pytest.raises(IntegrityError):
        await all_at_once(
            chain.decode(payload, SCOPE)
            for payload in [journal, journal[:-1] + bytes([journal[-1] ^ 1]), journal]
        )


@pytest.mark.parametrize("make", [encrypted_chain, plain_chain])
@pytest.mark.parametrize("data", [b"small" * 8, b"".join(n.to_bytes(2, "big") for n in range(3000))])
async def test_another_tenant_or_run_cannot_open_it(make: type[Chain], data: bytes) -> None:
    chain = make()
    journal = await chain.encode(data, Scope("a", "1"))
    for foreign in (Scope("b", "1"), Scope("a", "2"), Scope("b")):
        with pytest.raises((IntegrityError, PayloadNotFound)):
            await chain.open(journal, foreign)


async def test_the_tenant_scope_opens_what_its_runs_wrote_and_runs_open_what_the_tenant_wrote() -> None:
    chain = encrypted_chain()
    for data in (b"small", b"".join(n.to_bytes(2, "big") for n in range(3000))):
        assert await chain.open(await chain.encode(data, Scope("a", "1")), Scope("a")) == data
        assert await chain.open(await chain.encode(data, Scope("a")), Scope("a", "1")) == data


async def test_objects_swapped_within_a_scope_are_told_apart() -> None:
    for make in (encrypted_chain, plain_chain):
        store = MemoryStore()
        chain = make(store)
        payloads = [bytes([n]) + b"".join(i.to_bytes(2, "big") for i in range(3000)) for n in range(2)]
        journals = await all_at_once(chain.encode(payload, SCOPE) for payload in payloads)
        first, second = await keys_in(store)
        a, b = await store.get(first), await store.get(second)
        await store.replace(first, b)
        await store.replace(second, a)
        for journal in journals:
            with pytest.raises(IntegrityError) as caught:
                await chain.open(journal, SCOPE)
            assert Reference.from_bytes(journal).object_id.hex() in str(caught.value)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:30] + b"\0" * 9]
)
async def test_a_torn_object_is_replaced_when_its_payload_is_encoded_again(damage: type[bytes]) -> None:
    store = MemoryStore()
    chain = encrypted_chain(store)
    data = b"".join(n.to_bytes(2, "big") for n in range(3000))
    journal = await chain.encode(data, SCOPE)
    (key,) = await keys_in(store)
    await store.replace(key, damage(await store.get(key)))
    with pytest.raises((FormatError, IntegrityError)):
        await chain.open(journal, SCOPE)
    assert await encrypted_chain(store).encode(data, SCOPE) == journal
    assert await chain.open(journal, SCOPE) == data


async def test_a_payload_stored_at_another_level_is_used_as_it_is() -> None:
    store = MemoryStore()
    data = b"".join((n * n % 997).to_bytes(2, "big") for n in range(9000))
    low, high = (Chain(Zstd(level), Encrypt(Keyring(KEY)), Offload(store, over=64)) for level in (1, 19))
    journal = await low.encode(data, SCOPE)
    (key,) = await keys_in(store)
    before = await store.get(key)
    assert await high.encode(data, SCOPE) == journal
    assert await store.get(key) == before


async def test_a_store_that_deletes_every_object_at_once_is_an_error_not_a_loop() -> None:
    class Vanishing(MemoryStore):
        async def create(self, key: str, data: bytes) -> bool:
            return False

    with pytest.raises(StoreUnavailable, match=r"deleted each time"):
        await encrypted_chain(Vanishing()).encode(b"".join(n.to_bytes(2, "big") for n in range(3000)), SCOPE)


async def test_rotation_reads_old_keys_by_id_and_writes_the_new_one() -> None:
    store = MemoryStore()
    before = Chain(Encrypt(Keyring(KEY)), Offload(store, over=100))
    after = Chain(Encrypt(Keyring(OTHER_KEY, KEY)), Offload(store, over=100))
    for data in (b"small", bytes(range(200))):
        old = await before.encode(data, SCOPE)
        new = await after.encode(data, SCOPE)
        assert await after.open(old, SCOPE) == data == await after.open(new, SCOPE)
        with pytest.raises(KeyUnavailable, match=OTHER_KEY.id.hex()):
            await before.open(new, SCOPE)


async def test_introducing_encryption_needs_a_word() -> None:
    store = MemoryStore()
    data = b"".join(n.to_bytes(2, "big") for n in range(3000))
    journal = await plain_chain(store).encode(data, SCOPE)
    strict = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store))
    with pytest.raises(IntegrityError, match=r"not encrypted.*accept_unsealed"):
        await strict.open(journal, SCOPE)
    lenient = Chain(Zstd(), Encrypt(Keyring(KEY), accept_unsealed=True), Offload(store))
    assert await lenient.open(journal, SCOPE) == data


async def test_a_chain_without_keys_says_what_it_lacks() -> None:
    journal = await encrypted_chain().encode(b"x", SCOPE)
    with pytest.raises(KeyUnavailable, match=r"no keys.*Encrypt\(keyring\)"):
        await Chain(Zstd()).open(journal, SCOPE)


async def test_a_missing_object_is_named() -> None:
    store = MemoryStore()
    chain = encrypted_chain(store)
    journal = await chain.encode(b"".join(n.to_bytes(2, "big") for n in range(3000)), SCOPE)
    for key in await keys_in(store):
        await store.delete(key)
    with pytest.raises(PayloadNotFound, match=Reference.from_bytes(journal).object_id.hex()):
        await chain.open(journal, SCOPE)


async def test_an_unknown_store_alias_is_a_config_error_that_lists_what_there_is() -> None:
    chain = Chain(Offload(MemoryStore(), over=0, alias="eu"))
    journal = await chain.encode(b"payload", SCOPE)
    with pytest.raises(ConfigError, match=r"'eu'.*\['us'\].*read_also"):
        await Chain(Offload(MemoryStore(), alias="us")).open(journal, SCOPE)
    with pytest.raises(ConfigError, match=r"'eu'.*none"):
        await Chain().open(journal, SCOPE)


async def test_objects_in_an_earlier_store_are_still_read() -> None:
    old, new = MemoryStore(), MemoryStore()
    journal = await Chain(Offload(old, over=0, alias="old")).encode(b"payload", SCOPE)
    chain = Chain(Offload(new, over=0, alias="new", read_also={"old": old}))
    assert await chain.open(journal, SCOPE) == b"payload"
    await chain.encode(b"payload", SCOPE)
    assert len(await keys_in(old)) == 1


async def test_decode_only_writes_nothing_and_reads_everything() -> None:
    store = MemoryStore()
    data = b"".join(n.to_bytes(2, "big") for n in range(3000))
    journal = await encrypted_chain(store).encode(data, SCOPE)
    rolled_back = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store), decode_only=True)
    assert await rolled_back.encode(data, SCOPE) is data
    assert await rolled_back.decode(journal, SCOPE) == data


async def test_the_cap_holds_both_ways() -> None:
    small = Chain(Zstd(), max_payload=1000)
    with pytest.raises(LimitExceeded, match=r"1001 bytes, 1000"):
        await small.encode(b"a" * 1001, SCOPE)
    journal = await Chain(Zstd()).encode(b"a" * 1001, SCOPE)
    with pytest.raises(LimitExceeded, match=r"1001 bytes, 1000"):
        await small.open(journal, SCOPE)


async def test_a_reference_above_the_cap_fetches_nothing() -> None:
    class Counting(MemoryStore):
        gets = 0

        async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
            self.gets += 1
            return await super().get(key, limit)

    store = Counting()
    journal = await Chain(Offload(store, over=0)).encode(bytes(2000), SCOPE)
    with pytest.raises(LimitExceeded):
        await Chain(Offload(store), max_payload=1000).open(journal, SCOPE)
    assert store.gets == 0


async def test_a_codec_that_is_not_in_the_chain_is_named() -> None:
    journal = await Chain(Reverse()).encode(b"abc", SCOPE)
    with pytest.raises(FormatError, match=r"'reverse'"):
        await Chain().open(journal, SCOPE)


async def test_a_codec_that_breaks_the_law_of_names_is_found_out() -> None:
    class Shorter(Reverse):
        def decode(self, data: bytes | memoryview, limit: int) -> bytes:
            return super().decode(data, limit)[1:]

    journal = await Chain(Reverse()).encode(b"abc", SCOPE)
    with pytest.raises(FormatError, match=r"2 bytes, its header says 3"):
        await Chain(Shorter()).open(journal, SCOPE)


@pytest.mark.parametrize(
    "steps",
    [
        (Offload(MemoryStore()), Zstd()),
        (Encrypt(Keyring(KEY)), Zstd()),
        (Encrypt(Keyring(KEY)), Encrypt(Keyring(KEY))),
        (Offload(MemoryStore()), Offload(MemoryStore())),
        (Offload(MemoryStore()), Encrypt(Keyring(KEY))),
        (MemoryStore(),),
    ],
)
def test_steps_in_an_order_that_cannot_work_are_refused(steps: tuple[Codec, ...]) -> None:
    with pytest.raises(ConfigError, match=r"codecs, then at most one Encrypt, then at most one Offload"):
        Chain(*steps)


async def test_cancelling_an_encode_at_every_await_leaves_whole_objects_only() -> None:
    class Slow(MemoryStore):
        async def create(self, key: str, data: bytes) -> bool:
            await asyncio.sleep(0)
            created = await super().create(key, data)
            await asyncio.sleep(0)
            return created

    data = b"".join(n.to_bytes(2, "big") for n in range(3000))
    for steps in range(8):
        store = Slow()
        chain = encrypted_chain(store)
        task = asyncio.create_task(chain.encode(data, SCOPE))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        journal = await chain.encode(data, SCOPE)
        assert await chain.open(journal, SCOPE) == data
        assert len(await keys_in(store)) == 1


async def test_one_chain_serves_several_event_loops() -> None:
    chain = encrypted_chain()
    data = bytes(300_000)

    def in_a_loop_of_its_own() -> bytes:
        async def round_trip() -> bytes:
            return await chain.open(await chain.encode(data, SCOPE), SCOPE)

        return asyncio.run(round_trip())

    results = await asyncio.gather(*(asyncio.to_thread(in_a_loop_of_its_own) for _ in range(4)))
    assert results == [data] * 4


async def test_no_secret_and_no_plaintext_in_any_repr_or_error() -> None:
    canary = b"CANARY-4711"
    key = Key(b"K" * 32)
    store = MemoryStore()
    chain = Chain(Zstd(), Encrypt(Keyring(key)), Offload(store, over=64), cache=PayloadCache(0))
    shown = [repr(chain), repr(key), repr(Keyring(key)), str(Keyring(key))]
    journal = await chain.encode(canary * 100 + bytes(range(256)), SCOPE)
    for key_name in await keys_in(store):
        shown.append(key_name)
        await store.replace(key_name, b"\xc0\xa7\xc4\xec" + canary * 10)
    for broken in (journal, journal[:-1], MAGIC + canary):
        try:
            await chain.open(broken, SCOPE)
        except CoatcheckError as error:
            shown += [str(error), repr(error)]
    assert len(shown) == 11
    for text in shown:
        assert "CANARY" not in text
        assert "KKKK" not in text
        assert key.to_text()[:8] not in text


def test_a_chain_says_whether_it_writes_to_a_store() -> None:
    assert encrypted_chain().offloads
    assert not Chain(Zstd()).offloads
    assert not Chain(Zstd(), Offload(MemoryStore()), decode_only=True).offloads
