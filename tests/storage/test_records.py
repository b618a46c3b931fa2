"""Records: named by their position, created once, bound to their name, apart from objects, the newest first."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck import (
    CachedStore,
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
from coatcheck.contracts.store import DEFAULT_LIMIT, StoredObject
from coatcheck.format.envelope import INLINE, EnvelopeHeader, object_context
from coatcheck.format.layout import is_object, is_record
from coatcheck.format.suites import SealingPolicy
from coatcheck.storage.records import LAST_BRANCH, LAST_STEP, MAX_RECORD, Ledger, Position
from tests import reader
from tests.chains import KEY, OTHER_KEY, SCOPE, encrypted_chain, keys_in, plain_chain

POSITIONS = [Position(0, number) for number in range(6)]


async def everything(ledger: Ledger) -> dict[Position, bytes]:
    return {entry.position: await ledger.get(entry) for entry in await ledger.newest(10_000)}


async def names_in(store: MemoryStore) -> list[str]:
    return [key.rsplit("/", 1)[1] for key in await keys_in(store)]


@pytest.mark.parametrize("make", [encrypted_chain, plain_chain])
@given(
    puts=st.lists(
        st.tuples(
            st.builds(
                Position,
                st.sampled_from([0, 1, 9, 10, LAST_BRANCH]),
                st.one_of(st.integers(0, 12), st.integers(0, LAST_STEP)),
            ),
            st.binary(max_size=300),
        ),
        max_size=12,
    ),
    before=st.none() | st.builds(Position, st.integers(0, 11), st.integers(0, 12)),
    count=st.integers(0, 14),
)
@settings(deadline=None)
def test_it_behaves_like_a_dictionary_that_keeps_what_came_first(
    make: Callable[..., Chain], puts: list[tuple[Position, bytes]], before: Position | None, count: int
) -> None:
    async def check() -> None:
        store = MemoryStore()
        expected: dict[Position, bytes] = {}
        for position, record in puts:
            created = await make(store).ledger(SCOPE).create(position, record)
            assert created == (position not in expected)
            expected.setdefault(position, record)
        ledger = make(store).ledger(SCOPE)
        assert await everything(ledger) == expected
        newest = sorted((at for at in expected if before is None or at < before), reverse=True)
        assert [entry.position for entry in await ledger.newest(count, before)] == newest[:count]
        for position, record in expected.items():
            ((key, found),) = await ledger.find(position)
            assert found == record
            assert key in await keys_in(store)
        assert all(is_record(name) and not is_object(name) for name in await names_in(store))
        assert all(len(name) < 64 for name in await names_in(store))

    asyncio.run(check())


class Counting(MemoryStore):
    """Counts listings, and gives no more in one than S3 does."""

    listings = 0

    async def list_first(self, prefix: str, count: int) -> list[StoredObject]:
        assert count <= 1000
        self.listings += 1
        return await super().list_first(prefix, count)


@pytest.mark.parametrize(
    ("steps", "most"),
    [
        (range(3210), 20),
        (range(0, 32_100, 10), 50),
        ([2**63 - 1 - step for step in range(0, 30_000, 9)], 400),
    ],
    ids=["counted", "with gaps", "from the end"],
)
async def test_more_records_than_one_listing_gives_come_in_order_and_are_gone_on_from_anywhere(
    steps: list[int], most: int
) -> None:
    store = Counting()
    ledger = encrypted_chain(store).ledger(SCOPE)
    for step in steps:
        await ledger.create(Position(step % 2, step), b"")
    expected = sorted((Position(step % 2, step) for step in steps), reverse=True)
    store.listings = 0
    assert [entry.position for entry in await ledger.newest(len(steps) + 1)] == expected
    assert store.listings <= most
    store.listings = 0
    assert [entry.position for entry in await ledger.newest(1)] == expected[:1]
    assert store.listings == 1
    for at in (0, 1, 999, 1000, 1001, len(steps) - 2):
        found = await ledger.newest(3, expected[at])
        assert [entry.position for entry in found] == expected[at + 1 : at + 4]


async def test_scopes_do_not_see_each_other() -> None:
    store = MemoryStore()
    scopes = [Scope("a"), Scope("b"), Scope("a", "1"), Scope("a", "2"), Scope("b", "1")]
    for chain in (encrypted_chain(store), plain_chain(store)):
        for scope in scopes:
            await chain.ledger(scope).create(POSITIONS[0], repr(scope).encode())
        for scope in scopes:
            assert await everything(chain.ledger(scope)) == {POSITIONS[0]: repr(scope).encode()}


@pytest.mark.parametrize("position", [(-1, 0), (LAST_BRANCH + 1, 0), (0, -1), (0, LAST_STEP + 1)])
async def test_a_position_that_is_none_is_refused(position: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="there is no step"):
        await encrypted_chain().ledger(SCOPE).create(Position(*position), b"")


async def test_a_record_that_is_too_large_is_refused_on_both_ways() -> None:
    store = MemoryStore()
    ledger = encrypted_chain(store).ledger(SCOPE)
    with pytest.raises(LimitExceeded):
        await ledger.create(POSITIONS[0], bytes(MAX_RECORD))
    await ledger.create(POSITIONS[0], b"")
    (key,) = await keys_in(store)
    await store.replace(key, bytes(MAX_RECORD + 1))
    (entry,) = await ledger.newest(1)
    with pytest.raises(LimitExceeded, match="step-"):
        await ledger.get(entry)


async def test_nothing_else_in_the_scope_is_taken_for_a_record() -> None:
    store = MemoryStore()
    chain = encrypted_chain(store, over=0)
    reference = await chain.put(b"object", SCOPE)
    ledger = chain.ledger(SCOPE)
    await ledger.create(POSITIONS[3], b"record")
    (name,) = [name for name in await names_in(store) if is_record(name)]
    prefix = (await keys_in(store))[0].rsplit("/", 1)[0]
    assert sorted(await names_in(store)) == sorted([name, reference.object_id.hex()])
    for stray in ("lost", name + ".bak", "STEP", name.upper().replace("STEP", "step")):
        await store.replace(f"{prefix}/{stray}", b"?")
    assert await everything(ledger) == {POSITIONS[3]: b"record"}


@pytest.mark.parametrize("make", [encrypted_chain, plain_chain])
async def test_every_flip_and_truncation_is_found_and_named(make: Callable[..., Chain]) -> None:
    store = MemoryStore()
    ledger = make(store).ledger(SCOPE)
    await ledger.create(POSITIONS[0], b"record")
    (key,) = await keys_in(store)
    good = await store.get(key)
    damaged = [good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(len(good))]
    damaged += [good[:at] for at in range(len(good))] + [good + b"\0"]
    (entry,) = await ledger.newest(1)
    for data in damaged:
        await store.replace(key, data)
        with pytest.raises((FormatError, IntegrityError), match=key):
            await ledger.get(entry)
        with pytest.raises((FormatError, IntegrityError), match=key):
            await ledger.find(POSITIONS[0])


@pytest.mark.parametrize("make", [encrypted_chain, plain_chain])
async def test_records_swapped_within_and_between_scopes_are_told_apart(make: Callable[..., Chain]) -> None:
    store = MemoryStore()
    chain = make(store, over=0)
    await chain.put(b"an object", SCOPE)
    for scope in (SCOPE, Scope(SCOPE.tenant, "other"), Scope(SCOPE.tenant)):
        await chain.ledger(scope).create(POSITIONS[0], b"0")
    await chain.ledger(SCOPE).create(POSITIONS[1], b"1")
    entry = (await chain.ledger(SCOPE).newest(2))[1]
    target = entry.stored.key
    good = await store.get(target)
    for source in await keys_in(store):
        if source == target:
            continue
        await store.replace(target, await store.get(source))
        with pytest.raises(IntegrityError, match=target):
            await chain.ledger(SCOPE).get(entry)
    await store.replace(target, good)
    assert await chain.ledger(SCOPE).get(entry) == b"0"


@pytest.mark.parametrize("make", [encrypted_chain, plain_chain])
async def test_a_name_of_another_scope_or_position_is_not_authentic(make: Callable[..., Chain]) -> None:
    store = MemoryStore()
    chain = make(store)
    for scope in (SCOPE, Scope(SCOPE.tenant, "other"), Scope("other", SCOPE.run)):
        for position in POSITIONS[:2]:
            await chain.ledger(scope).create(position, b"")
    keys = await keys_in(store)
    names = {key.rsplit("/", 1)[1] for key in keys}
    assert len(names) == 6
    prefixes = {key.rsplit("/", 1)[0] for key in keys}
    for prefix in prefixes:
        for name in names:
            await store.create(f"{prefix}/{name}", b"planted")
    for scope in (SCOPE, Scope(SCOPE.tenant, "other"), Scope("other", SCOPE.run)):
        assert [entry.position for entry in await chain.ledger(scope).newest(9)] == POSITIONS[1::-1]


async def test_a_record_is_no_object_and_no_journal_entry() -> None:
    store = MemoryStore()
    chain = plain_chain(store, over=0)
    reference = await chain.put(b"an object", SCOPE)
    (key,) = await keys_in(store)
    await chain.ledger(SCOPE).create(POSITIONS[0], b"an object")
    (entry,) = await chain.ledger(SCOPE).newest(1)
    record = await store.get(entry.stored.key)
    with pytest.raises(IntegrityError):
        await chain.open(record, SCOPE)
    await store.replace(key, record)
    with pytest.raises(IntegrityError):
        await chain.open_reference(reference, SCOPE)


@pytest.mark.parametrize("change", [{"codecs": ("zstd",)}, {"size": 7}, {"bases": (bytes(32),)}])
async def test_a_record_under_another_header_is_refused(change: dict[str, object]) -> None:
    store = MemoryStore()
    ledger = plain_chain(store).ledger(SCOPE)
    await ledger.create(POSITIONS[0], b"record")
    (key,) = await keys_in(store)
    _, key_id, run_tag, sealer = SealingPolicy(None).for_new(SCOPE)
    fields: dict[str, object] = {"codecs": (), "size": 6, "bases": ()}
    header = EnvelopeHeader(0, key_id, run_tag, **(fields | change))  # type: ignore[arg-type]
    (entry,) = await ledger.newest(1)
    for context in (b"\x02" + key.rsplit("/", 1)[1].encode(), INLINE, object_context(bytes(32))):
        await store.replace(key, sealer.seal(header.to_bytes(), context, b"record"))
        with pytest.raises(IntegrityError, match=key):
            await ledger.get(entry)


async def test_an_unsealed_record_is_refused_by_a_chain_with_keys() -> None:
    store = MemoryStore()
    ledger = encrypted_chain(store).ledger(SCOPE)
    await ledger.create(POSITIONS[0], b"real")
    (key,) = await keys_in(store)
    other = MemoryStore()
    await plain_chain(other).ledger(SCOPE).create(POSITIONS[0], b"forged")
    (forged,) = await keys_in(other)
    await store.replace(key, await other.get(forged))
    with pytest.raises(IntegrityError):
        await everything(ledger)


async def test_a_record_that_is_gone_is_named() -> None:
    store = MemoryStore()
    ledger = encrypted_chain(store).ledger(SCOPE)
    await ledger.create(POSITIONS[0], b"record")
    (entry,) = await ledger.newest(1)
    await entry.records.delete(entry.position)
    assert await keys_in(store) == []
    with pytest.raises(PayloadNotFound, match="step-"):
        await ledger.get(entry)
    with pytest.raises(PayloadNotFound, match="step-"):
        await ledger.find(POSITIONS[0])


async def test_an_earlier_store_is_read_and_what_was_written_last_counts() -> None:
    old, new = MemoryStore(), MemoryStore()
    before = Chain(Offload(old, alias="old")).ledger(SCOPE)
    for position in POSITIONS[:2]:
        await before.create(position, b"old")
    after = Chain(Offload(new, alias="new", read_also={"old": old})).ledger(SCOPE)
    await after.create(POSITIONS[1], b"new")
    await after.create(POSITIONS[2], b"new")
    assert await everything(after) == {POSITIONS[0]: b"old", POSITIONS[1]: b"new", POSITIONS[2]: b"new"}
    assert len(await keys_in(old)) == len(await keys_in(new)) == 2
    assert sorted(record for _, record in await after.find(POSITIONS[1])) == [b"new", b"old"]


async def test_a_copy_of_a_record_that_was_deleted_and_made_anew_is_not_believed(tmp_path: object) -> None:
    store = MemoryStore()
    chain = Chain(Offload(CachedStore(store, tmp_path)))  # type: ignore[arg-type]
    reading, writing = chain.ledger(SCOPE), Chain(Offload(store)).ledger(SCOPE)
    await writing.create(POSITIONS[0], b"first")
    (entry,) = await reading.newest(1)
    assert await reading.get(entry) == b"first"
    await (await writing.places())[0].delete(entry.position)
    await writing.create(POSITIONS[0], b"second")
    assert await reading.get(entry) == b"second"


async def test_a_store_that_is_down_is_an_error_not_an_empty_ledger() -> None:
    class Down(MemoryStore):
        def list_objects(self, prefix: str = "") -> object:  # type: ignore[override]
            raise StoreUnavailable("down", retry_after=60)

    with pytest.raises(StoreUnavailable):
        await encrypted_chain(Down()).ledger(SCOPE).newest(1)


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
    for number, position in enumerate(POSITIONS):
        references.append(await chain.put(bytes([number]) * 50, SCOPE))
        await chain.ledger(SCOPE).create(position, b"record")
    cold = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store), cache=PayloadCache(2**20))
    for number, reference in enumerate(references):
        assert await cold.open_reference(reference, SCOPE) == bytes([number]) * 50
    assert len(store.gets) == len(references)
    assert not any("step-" in key for key in store.gets)


async def test_a_record_says_nothing_in_the_store() -> None:
    store = MemoryStore()
    await encrypted_chain(store).ledger(Scope("acme", "CANARY-run")).create(POSITIONS[0], b"CANARY" * 9)
    (key,) = await keys_in(store)
    assert b"CANARY" not in await store.get(key) + key.encode()
    assert issubclass(LimitExceeded, CoatcheckError)


@pytest.mark.parametrize(("make", "secret"), [(encrypted_chain, KEY.secret), (plain_chain, None)])
async def test_a_reader_that_knows_only_the_document_finds_and_opens_it(
    make: Callable[..., Chain], secret: bytes | None
) -> None:
    store = MemoryStore()
    await make(store).ledger(SCOPE).create(Position(2, 7), b"record")
    values = reader.intermediates(secret, SCOPE.tenant, SCOPE.run)
    (key,) = await keys_in(store)
    name = reader.record_name(2, 7, values)
    assert name.startswith("step-99999799999999999999999992-")
    assert key == f"{values['tenant_tag'].hex()}/{values['run_tag'].hex()}/{name}"
    context = b"\x02" + name.encode("ascii")
    assert reader.open_envelope(await store.get(key), context, values)[1] == b"record"


@pytest.mark.parametrize(("make", "secret"), [(encrypted_chain, KEY.secret), (plain_chain, None)])
async def test_names_of_records_never_change(make: Callable[..., Chain], secret: bytes | None) -> None:
    store = MemoryStore()
    await make(store).ledger(Scope("tenant-a", "run-1", engine="checkpoints")).create(Position(3, 41), b"")
    assert await names_in(store) == [
        "step-99999699999999999999999958-f8db98e8229b1e2b"
        if secret is None
        else "step-99999699999999999999999958-5828fd6bbc3634e2"
    ]


async def test_another_key_does_not_find_it() -> None:
    store = MemoryStore()
    await encrypted_chain(store).ledger(SCOPE).create(POSITIONS[0], b"record")
    other = Chain(Encrypt(Keyring(OTHER_KEY)), Offload(store)).ledger(SCOPE)
    assert await other.newest(1) == []
