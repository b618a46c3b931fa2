"""Records: named, replaceable, bound to their name, apart from objects."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck import (
    Chain,
    CoatcheckError,
    ConfigError,
    Encrypt,
    FormatError,
    IntegrityError,
    Keyring,
    LimitExceeded,
    MemoryStore,
    Offload,
    PayloadCache,
    PayloadNotFound,
    Scope,
    StoreUnavailable,
    Zstd,
)
from coatcheck.contracts import DEFAULT_LIMIT
from coatcheck.format.envelope import INLINE, EnvelopeHeader, object_context
from coatcheck.format.suites import Suites
from coatcheck.storage.ledger import Ledger
from tests import reader
from tests.chains import KEY, OTHER_KEY, SCOPE, encrypted_chain, keys_in, plain_chain

NAMES = [f"step-{number:020}" for number in range(6)]


async def everything(ledger: Ledger, start: str = "") -> dict[str, bytes]:
    return {entry.name: await ledger.get(entry) for entry in await ledger.entries(start)}


@pytest.mark.parametrize("make", [encrypted_chain, plain_chain])
@given(
    puts=st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=300)), max_size=12),
    start=st.sampled_from(["", "step-", "st", NAMES[0][:-1], NAMES[1]]),
)
@settings(deadline=None)
def test_it_behaves_like_a_dictionary(
    make: Callable[..., Chain], puts: list[tuple[str, bytes]], start: str
) -> None:
    async def check() -> None:
        store = MemoryStore()
        for name, record in puts:
            await make(store).ledger(SCOPE).put(name, record)
        expected = {name: record for name, record in sorted(dict(puts).items()) if name.startswith(start)}
        found = await everything(make(store).ledger(SCOPE), start)
        assert list(found.items()) == list(expected.items())
        assert len(await keys_in(store)) == len(dict(puts))

    asyncio.run(check())


async def test_scopes_do_not_see_each_other() -> None:
    store = MemoryStore()
    scopes = [Scope("a"), Scope("b"), Scope("a", "1"), Scope("a", "2"), Scope("b", "1")]
    for chain in (encrypted_chain(store), plain_chain(store)):
        for scope in scopes:
            await chain.ledger(scope).put(NAMES[0], repr(scope).encode())
        for scope in scopes:
            assert await everything(chain.ledger(scope)) == {NAMES[0]: repr(scope).encode()}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "step",
        "step-1",
        "a" * 64,
        "step-0000000000000000000x",
        NAMES[0] + "0",
        "../" + NAMES[0],
        "A" + NAMES[0],
    ],
)
async def test_a_name_that_could_be_mistaken_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="no name of a record"):
        await encrypted_chain().ledger(SCOPE).put(name, b"")


async def test_the_key_is_the_scope_and_the_name_and_nothing_else_is_taken_for_a_record() -> None:
    store = MemoryStore()
    chain = encrypted_chain(store, over=0)
    reference = await chain.put(b"object", SCOPE)
    ledger = chain.ledger(SCOPE)
    await ledger.put(NAMES[3], b"record")
    first, second = await keys_in(store)
    prefix = first.rsplit("/", 1)[0]
    assert {first, second} == {f"{prefix}/{reference.object_id.hex()}", f"{prefix}/{NAMES[3]}"}
    for stray in ("lost", NAMES[0] + ".bak", "STEP"):
        await store.replace(f"{prefix}/{stray}", b"?")
    assert await everything(ledger) == {NAMES[3]: b"record"}


@pytest.mark.parametrize("make", [encrypted_chain, plain_chain])
async def test_every_flip_and_truncation_is_found_and_named(make: Callable[..., Chain]) -> None:
    store = MemoryStore()
    ledger = make(store).ledger(SCOPE)
    await ledger.put(NAMES[0], b"record")
    (key,) = await keys_in(store)
    good = await store.get(key)
    damaged = [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(len(good))]
    damaged += [good[:at] for at in range(len(good))] + [good + b"\0"]
    for data in damaged:
        await store.replace(key, data)
        (entry,) = await ledger.entries()
        with pytest.raises((FormatError, IntegrityError), match=NAMES[0]):
            await ledger.get(entry)


@pytest.mark.parametrize("make", [encrypted_chain, plain_chain])
async def test_records_swapped_within_and_between_scopes_are_told_apart(make: Callable[..., Chain]) -> None:
    store = MemoryStore()
    chain = make(store, over=0)
    await chain.put(b"an object", SCOPE)
    (object_key,) = await keys_in(store)
    for scope in (SCOPE, Scope(SCOPE.tenant, "other"), Scope(SCOPE.tenant)):
        await chain.ledger(scope).put(NAMES[0], b"0")
    await chain.ledger(SCOPE).put(NAMES[1], b"1")
    prefix = object_key.rsplit("/", 1)[0]
    target = f"{prefix}/{NAMES[0]}"
    good = await store.get(target)
    for source in await keys_in(store):
        if source == target:
            continue
        await store.replace(target, await store.get(source))
        (entry,) = await chain.ledger(SCOPE).entries(NAMES[0])
        with pytest.raises(IntegrityError, match=NAMES[0]):
            await chain.ledger(SCOPE).get(entry)
    await store.replace(target, good)
    assert await everything(chain.ledger(SCOPE), NAMES[0]) == {NAMES[0]: b"0"}


async def test_a_record_is_no_object_and_no_journal_entry() -> None:
    store = MemoryStore()
    chain = plain_chain(store, over=0)
    reference = await chain.put(b"an object", SCOPE)
    (key,) = await keys_in(store)
    await chain.ledger(SCOPE).put(NAMES[0], b"an object")
    record = await store.get(key.rsplit("/", 1)[0] + "/" + NAMES[0])
    with pytest.raises(IntegrityError):
        await chain.open(record, SCOPE)
    await store.replace(key, record)
    with pytest.raises(IntegrityError):
        await chain.open_reference(reference, SCOPE)


@pytest.mark.parametrize("change", [{"codecs": ("zstd",)}, {"size": 7}, {"bases": (bytes(32),)}])
async def test_a_record_under_another_header_is_refused(change: dict[str, object]) -> None:
    store = MemoryStore()
    ledger = plain_chain(store).ledger(SCOPE)
    await ledger.put(NAMES[0], b"record")
    (key,) = await keys_in(store)
    _, key_id, run_tag, sealer = Suites(None).sealer_for_new(SCOPE)
    fields: dict[str, object] = {"codecs": (), "size": 6, "bases": ()}
    header = EnvelopeHeader(0, key_id, run_tag, **(fields | change))  # type: ignore[arg-type]
    for context in (b"\x02" + NAMES[0].encode(), INLINE, object_context(bytes(32))):
        await store.replace(key, sealer.seal(header.to_bytes(), context, b"record"))
        (entry,) = await ledger.entries()
        with pytest.raises(IntegrityError, match=NAMES[0]):
            await ledger.get(entry)


async def test_an_unsealed_record_is_refused_by_a_chain_with_keys() -> None:
    store = MemoryStore()
    ledger = encrypted_chain(store).ledger(SCOPE)
    await ledger.put(NAMES[0], b"real")
    (key,) = await keys_in(store)
    other = MemoryStore()
    await plain_chain(other).ledger(SCOPE).put(NAMES[0], b"forged")
    (forged,) = await keys_in(other)
    await store.replace(key, await other.get(forged))
    with pytest.raises(IntegrityError):
        await everything(ledger)


async def test_a_record_that_is_gone_is_named() -> None:
    store = MemoryStore()
    ledger = encrypted_chain(store).ledger(SCOPE)
    await ledger.put(NAMES[0], b"record")
    (entry,) = await ledger.entries()
    await store.delete(entry.stored.key)
    with pytest.raises(PayloadNotFound, match=NAMES[0]):
        await ledger.get(entry)


async def test_an_earlier_store_is_read_and_what_was_written_last_counts() -> None:
    old, new = MemoryStore(), MemoryStore()
    before = Chain(Offload(old, alias="old")).ledger(SCOPE)
    for name in NAMES[:2]:
        await before.put(name, b"old")
    after = Chain(Offload(new, alias="new", read_also={"old": old})).ledger(SCOPE)
    await after.put(NAMES[1], b"new")
    await after.put(NAMES[2], b"new")
    assert await everything(after) == {NAMES[0]: b"old", NAMES[1]: b"new", NAMES[2]: b"new"}
    assert len(await keys_in(old)) == len(await keys_in(new)) == 2
    await before.put(NAMES[2], b"later")
    assert (await everything(after))[NAMES[2]] == b"later"


async def test_more_records_than_fit_are_an_error_not_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coatcheck.storage.ledger._MAX_RECORDS", 3)
    ledger = encrypted_chain().ledger(SCOPE)
    for name in NAMES[:4]:
        await ledger.put(name, b"")
    assert len(await ledger.entries(NAMES[0])) == 1
    with pytest.raises(LimitExceeded):
        await ledger.entries()


async def test_a_store_that_is_down_is_an_error_not_an_empty_ledger() -> None:
    class Down(MemoryStore):
        def list_objects(self, prefix: str = "") -> object:  # type: ignore[override]
            raise StoreUnavailable("down", retry_after=60)

    with pytest.raises(StoreUnavailable):
        await encrypted_chain(Down()).ledger(SCOPE).entries()


async def test_a_chain_without_a_store_has_none() -> None:
    with pytest.raises(ConfigError, match=r"no store.*Offload"):
        Chain(Zstd()).ledger(SCOPE)


async def test_the_read_ahead_leaves_records_alone() -> None:
    class Watched(MemoryStore):
        gets: list[str]

        async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
            self.gets.append(key)
            return await super().get(key, limit)

    store = Watched()
    store.gets = []
    chain = encrypted_chain(store, over=0)
    references = []
    for number, name in enumerate(NAMES):
        references.append(await chain.put(bytes([number]) * 50, SCOPE))
        await chain.ledger(SCOPE).put(name, b"record")
    cold = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store), cache=PayloadCache(2**20))
    for number, reference in enumerate(references):
        assert await cold.open_reference(reference, SCOPE) == bytes([number]) * 50
    assert len(store.gets) == len(references)
    assert not any("step-" in key for key in store.gets)


async def test_a_record_says_nothing_in_the_store() -> None:
    store = MemoryStore()
    await encrypted_chain(store).ledger(Scope("acme", "CANARY-run")).put(NAMES[0], b"CANARY" * 9)
    (key,) = await keys_in(store)
    assert b"CANARY" not in await store.get(key) + key.encode()
    with pytest.raises(CoatcheckError) as caught:
        await encrypted_chain(store).ledger(SCOPE).put("CANARY" * 20, b"")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(("make", "secret"), [(encrypted_chain, KEY.secret), (plain_chain, None)])
async def test_a_reader_that_knows_only_the_document_finds_and_opens_it(
    make: Callable[..., Chain], secret: bytes | None
) -> None:
    store = MemoryStore()
    await make(store).ledger(SCOPE).put(NAMES[1], b"record")
    values = reader.intermediates(secret, SCOPE.tenant, SCOPE.run)
    (key,) = await keys_in(store)
    assert key == f"{values['tenant_tag'].hex()}/{values['run_tag'].hex()}/{NAMES[1]}"
    context = b"\x02" + NAMES[1].encode("ascii")
    assert reader.open_envelope(await store.get(key), context, values)[1] == b"record"


async def test_another_key_does_not_find_it() -> None:
    store = MemoryStore()
    await encrypted_chain(store).ledger(SCOPE).put(NAMES[0], b"record")
    other = Chain(Encrypt(Keyring(OTHER_KEY)), Offload(store)).ledger(SCOPE)
    assert await other.entries() == []
