"""Keys of tenants: one each, kept wrapped, rotated, shredded, wrapped anew."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from coatcheck import (
    Chain,
    Checkpoints,
    ConfigError,
    Encrypt,
    FormatError,
    IntegrityError,
    KeyDestroyed,
    KeyService,
    KeyServiceError,
    KeyUnavailable,
    MemoryStore,
    Offload,
    PayloadCache,
    Scope,
    TenantKeys,
    Zstd,
)
from coatcheck.format.reference import Reference
from coatcheck.keys.key_store import NAMES, KeyRecord, KeyStore, KeyVersion
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.stores.gcs import GCSStore
from tests.chains import SCOPE, history, keys_in
from tests.engines.careless_proxy import CarelessProxy
from tests.engines.gcs import GCSServer
from tests.engines.google_kms import GoogleKmsServer
from tests.keys.conftest import Kms, of_google

OTHER = Scope("tenant-b", "run-1")
SMALL = b"small"
LARGE = b"".join(n.to_bytes(4, "big") for n in range(2000))


class World:
    """A store and key services, and processes that know nothing of each other."""

    def __init__(self, kms: Kms) -> None:
        self.kms = kms
        self.store = MemoryStore()
        self.name = kms.new_key()
        self.opened: list[TenantKeys] = []

    def keys(self, *names: str, **settings: object) -> TenantKeys:
        services = [self.kms.service(name) for name in names or (self.name,)]
        self.opened.append(TenantKeys(self.store, *services, **{"label": "test", **settings}))  # type: ignore[arg-type]
        return self.opened[-1]

    def chain(self, *names: str, **bounds: float) -> Chain:
        """Of a process that just began."""
        encrypt = Encrypt(self.keys(*names, **bounds))
        return Chain(Zstd(), encrypt, Offload(self.store, over=256), cache=PayloadCache(0))

    async def close(self) -> None:
        for keys in self.opened:
            await keys.close()

    async def records(self) -> list[str]:
        return [key for key in await keys_in(self.store) if key.startswith("keys/") and key != NAMES]


@pytest.fixture
async def world(kms: Kms) -> AsyncIterator[World]:
    world = World(kms)
    yield world
    await world.close()


@pytest.fixture
async def google_world(google_kms: GoogleKmsServer) -> AsyncIterator[World]:
    world = World(of_google(google_kms))
    yield world
    await world.close()


async def test_another_process_opens_what_one_sealed(world: World) -> None:
    async with world.chain() as first, world.chain() as second:
        for payload in (SMALL, LARGE):
            journal = await first.encode(payload, SCOPE)
            assert payload not in journal
            assert await second.decode(journal, SCOPE) == payload
            # The same payload, the same reference, in whatever process.
            assert await second.encode(payload, SCOPE) == journal
    assert len(await world.records()) == 1


async def test_tenants_have_keys_of_their_own_and_no_name_shows(world: World) -> None:
    async with world.chain() as chain:
        journal = await chain.encode(LARGE, SCOPE)
        other = await chain.encode(LARGE, OTHER)
        assert Reference.from_bytes(journal).key_id != Reference.from_bytes(other).key_id
        with pytest.raises(KeyUnavailable, match="the tenant has no key"):
            await chain.decode(journal, OTHER)
    assert len(await world.records()) == 2
    for key in await keys_in(world.store):
        assert b"tenant-" not in key.encode() + await world.store.get(key)


async def test_processes_that_meet_a_tenant_at_once_end_with_one_key(world: World) -> None:
    chains = [world.chain() for _ in range(6)]
    journals = await asyncio.gather(*(chain.encode(SMALL, SCOPE) for chain in chains))
    assert len(set(journals)) == 1
    assert await keys_in(world.store) == [*await world.records(), NAMES]
    assert len(await world.records()) == 1
    for chain in chains:
        await chain.close()


async def test_two_first_uses_in_a_store_that_ignores_conditions_lose_no_payload(
    google_world: World, gcs_server: GCSServer, gcs_bucket: str
) -> None:
    async with CarelessProxy(gcs_server.endpoint) as proxy:
        store = GCSStore(gcs_bucket, endpoint_url=proxy.endpoint)
        processes = [
            TenantKeys(store, google_world.kms.service(google_world.name), label="test") for _ in range(2)
        ]
        for keys in processes:
            with pytest.raises(ConfigError, match="ignores the condition"):
                await Chain(Encrypt(keys)).encode(SMALL, SCOPE)
        assert [entry.key async for entry in store.list_objects()] == []
        for keys in processes:
            await keys.close()
        await proxy.abandoned()


async def test_a_rotation_seals_anew_and_opens_the_old(world: World) -> None:
    async with world.chain() as chain, world.chain() as elsewhere:
        old = await chain.encode(LARGE, SCOPE)
        await elsewhere.encode(LARGE, SCOPE)
        keys = world.keys()
        made = await keys.rotate(SCOPE.tenant)
        assert [(key.number, key.primary) for key in await keys.list(SCOPE.tenant)] == [(1, False), (2, True)]
        async with world.chain() as fresh:
            new = await fresh.encode(LARGE, SCOPE)
            assert Reference.from_bytes(new).key_id.hex() == made.key_id
            assert await fresh.decode(old, SCOPE) == LARGE
        # A process that has not heard of it goes on with the old one, and reads the new one.
        assert await elsewhere.encode(LARGE, SCOPE) == old
        assert await elsewhere.decode(new, SCOPE) == LARGE
        assert await elsewhere.encode(LARGE, SCOPE) == old


async def test_to_look_or_to_misspell_makes_nothing(world: World) -> None:
    keys = world.keys()
    assert await keys.list() == await keys.list("t") == []
    with pytest.raises(ConfigError, match="the tenant 't' has no key"):
        await keys.rotate("t")
    assert await keys_in(world.store) == []
    assert (await keys.rotate("t", new=True)).number == 1
    assert (await keys.rotate("t")).number == 2


async def test_rotations_at_once_make_one_key(world: World) -> None:
    keys = world.keys()
    await keys.load_primary("t")
    found = await asyncio.gather(*(world.keys().rotate("t") for _ in range(4)))
    assert {key.number for key in found} <= {2, 3, 4, 5}
    listed = await keys.list("t")
    assert [key.number for key in listed] == list(range(1, len(listed) + 1))
    assert {key.key_id for key in found} <= {key.key_id for key in listed}


async def test_a_checkpoint_is_found_whatever_key_it_was_saved_under(world: World) -> None:
    async with world.chain() as chain, world.chain() as other:
        await Checkpoints(chain, run="r", tenant="t").save({"step": 1}, 1)
        keys = world.keys()
        await keys.rotate("t")
        await Checkpoints(other, run="r", tenant="t").save({"step": 2}, 2)
        assert [found.step for found in await history(Checkpoints(chain, run="r", tenant="t"))] == [1, 2]
        assert await Checkpoints(chain, run="r", tenant="t").restore() == {"step": 2}
        # To look makes no key.
        assert await history(Checkpoints(chain, run="r", tenant="typo")) == []
        assert len(await keys.list()) == 2


async def test_a_shredded_tenant_is_unreadable_and_nobody_else(world: World) -> None:
    async with world.chain() as chain:
        mine = [await chain.encode(payload, SCOPE) for payload in (SMALL, LARGE)]
        theirs = [await chain.encode(payload, OTHER) for payload in (SMALL, LARGE)]
        keys = world.keys()
        await keys.rotate(SCOPE.tenant)
        wrapped = {await world.store.get(key) for key in await world.records()}
        destroyed = await keys.shred(SCOPE.tenant)
        assert len(destroyed) == 2
        assert await keys.shred(SCOPE.tenant) == []
        # Nothing that could be unwrapped is left.
        left = [await world.store.get(key) for key in await keys_in(world.store)]
        assert len(wrapped & set(left)) == 1
    async with world.chain() as after:
        for journal in mine:
            with pytest.raises(KeyDestroyed, match=r"destroyed on .*gone for good"):
                await after.decode(journal, SCOPE)
        assert [await after.decode(journal, OTHER) for journal in theirs] == [SMALL, LARGE]
        # The tenant may come back; it gets another key.
        again = await after.encode(SMALL, SCOPE)
        assert again != mine[0]
        assert await after.decode(again, SCOPE) == SMALL
        [key] = await keys.list(SCOPE.tenant)
        assert key.number == 3


async def test_a_process_that_holds_a_shredded_key_lets_go_of_it_in_time(world: World) -> None:
    async with world.chain(max_age=1) as chain:
        journal = await chain.encode(SMALL, SCOPE)
        await world.keys().shred(SCOPE.tenant)
        assert await chain.decode(journal, SCOPE) == SMALL
        cache = chain._policy.sealing._keyring._cache  # type: ignore[attr-defined]
        cache._clock = lambda now=cache._clock: now() + 1
        with pytest.raises(KeyDestroyed, match="destroyed"):
            await chain.decode(journal, SCOPE)


async def test_rekey_wraps_anew_and_changes_nothing_else(world: World) -> None:
    new_name = world.kms.new_key()
    async with world.chain() as chain:
        journals = [await chain.encode(LARGE, scope) for scope in (SCOPE, OTHER)]
    objects = {key: await world.store.get(key) for key in await keys_in(world.store)}
    both = world.keys(new_name, world.name)
    before = await both.list()
    assert await both.rekey() == 3
    assert await both.rekey() == 3
    after = await both.list()
    assert [replace(key, service=new_name) for key in before] == after
    changed = {key for key, data in objects.items() if await world.store.get(key) != data}
    assert changed == {*await world.records(), NAMES}
    # The old key of the KMS is not needed any more.
    async with world.chain(new_name) as chain:
        assert [await chain.decode(j, s) for j, s in zip(journals, (SCOPE, OTHER), strict=True)] == [
            LARGE,
            LARGE,
        ]
        assert await chain.encode(LARGE, SCOPE) == journals[0]
    async with world.chain() as chain:
        with pytest.raises(KeyUnavailable, match=r"not configured here.*coatcheck rekey"):
            await chain.decode(journals[0], SCOPE)
    await both.close()


async def test_a_rekey_does_not_bring_back_what_is_shredded_meanwhile(world: World) -> None:
    keys = world.keys()
    await keys.load_primary("t")
    key_store = KeyStore(world.store, 1)
    [tag] = await key_store.tags()
    version, record = (await key_store.of(tag)).keys[0]
    await keys.shred("t")
    assert not await key_store.replace(version, record)
    assert await key_store.tags() == []
    assert await world.records() == [version.tombstone]
    # Even if the process ended before it could look: what a tombstone stands for is not used.
    await world.store.replace(version.name, record.to_bytes())
    assert (await key_store.of(tag)).keys == []


async def test_a_record_that_was_moved_or_edited_opens_nothing(world: World) -> None:
    keys = world.keys()
    for tenant in ("a", "b"):
        await keys.load_primary(tenant)
    await keys.rotate("a")
    [a1, a2], [b1] = await keys.list("a"), await keys.list("b")
    names = [KeyVersion(key.tenant_tag, key.number).name for key in (a1, a2, b1)]
    data = [await world.store.get(name) for name in names]
    record = KeyRecord.from_bytes(data[1], "")
    forged = [
        (data[2], IntegrityError),  # another tenant's
        (data[0], IntegrityError),  # an older one of the same tenant, to bring it back as the primary
        (record.model_copy(update={"key_id": a1.key_id}).to_bytes(), IntegrityError),
        (record.model_copy(update={"service": "arn:aws:kms:elsewhere"}).to_bytes(), KeyUnavailable),
        (record.model_copy(update={"wrapped": record.wrapped[:-1] + b"?"}).to_bytes(), IntegrityError),
        (b"{}", FormatError),
        (data[1][:-9], FormatError),
        (bytes(2**20), FormatError),
    ]
    for bad, error in forged:
        await world.store.replace(names[1], bad)
        with pytest.raises(error):
            await world.keys().load_primary("a")
    await world.store.replace(names[1], data[1])


async def copied(source: MemoryStore) -> MemoryStore:
    """What ``cp -r keys/`` makes of a store."""
    copy = MemoryStore()
    for key in await keys_in(source):
        if key.startswith("keys/"):
            await copy.create(key, await source.get(key))
    return copy


async def test_keys_of_staging_that_were_copied_to_production_open_nothing(world: World) -> None:
    """The same key of the KMS wraps both: whoever knows staging's keys must not choose production's."""
    staging = world.keys(label="staging")
    journal = await Chain(Encrypt(staging)).encode(SMALL, SCOPE)
    world.store = await copied(world.store)
    production = Chain(Encrypt(world.keys(label="production")))
    for attempt in (production.encode(SMALL, SCOPE), production.decode(journal, SCOPE)):
        with pytest.raises(IntegrityError, match="wrapped for the store 'staging', and this is 'production'"):
            await attempt
    # Nor if the records say that they are production's: the KMS was told otherwise.
    for key in await keys_in(world.store):
        record = KeyRecord.from_bytes(await world.store.get(key), key)
        await world.store.replace(key, record.model_copy(update={"label": "production"}).to_bytes())
    for attempt in (production.encode(SMALL, SCOPE), production.decode(journal, SCOPE)):
        with pytest.raises(IntegrityError, match="damaged, or moved"):
            await attempt
    # Nor one of them among production's own.
    own = MemoryStore()
    theirs, world.store = world.store, own
    await Chain(Encrypt(world.keys(label="production"))).encode(SMALL, SCOPE)
    [key] = await world.records()
    [copy] = [name for name in await keys_in(theirs) if name != NAMES]
    await own.create(key[:-1] + "2", await theirs.get(copy))
    with pytest.raises(IntegrityError, match="damaged, or moved"):
        await Chain(Encrypt(world.keys(label="production"))).encode(SMALL, SCOPE)


async def test_a_store_that_is_moved_on_purpose_opens_by_its_former_label(world: World) -> None:
    async with world.chain() as chain:
        journals = [await chain.encode(SMALL, scope) for scope in (SCOPE, OTHER)]
    world.store = await copied(world.store)
    both = world.keys(label="new", former_labels=["test"])
    moved = Chain(Encrypt(both))
    assert await moved.decode(journals[0], SCOPE) == SMALL
    assert await both.rekey() == 3
    after = Chain(Encrypt(world.keys(label="new")))
    assert [await after.decode(j, s) for j, s in zip(journals, (SCOPE, OTHER), strict=True)] == [SMALL, SMALL]
    assert await after.encode(SMALL, SCOPE) == journals[0]


@pytest.mark.parametrize("label", ["", "a b", "x" * 65, "prod\n"])
def test_labels_are_plain_words(world: World, label: str) -> None:
    with pytest.raises(ConfigError, match="not a store label"):
        world.keys(label=label)
    with pytest.raises(ConfigError, match="not a store label"):
        world.keys(former_labels=[label])


async def test_a_lost_record_of_names_is_not_made_anew(world: World) -> None:
    async with world.chain() as chain:
        await chain.encode(SMALL, SCOPE)
    await world.store.delete(NAMES)
    async with world.chain() as chain:
        with pytest.raises(IntegrityError, match="keys/names, which is needed to find them, is gone"):
            await chain.encode(SMALL, SCOPE)


async def test_the_service_is_asked_once_however_many_payloads(
    google_world: World, google_kms: GoogleKmsServer
) -> None:
    async with google_world.chain() as chain:
        await chain.encode(SMALL, SCOPE)
    async with google_world.chain() as chain:
        google_kms.asked.clear()
        await all_at_once(chain.encode(payload, SCOPE) for payload in [SMALL] * 50)
        for _ in range(20):
            await chain.encode(SMALL, SCOPE)
        # The record of names, and the tenant's key.
        assert len(google_kms.asked) == 2


def test_a_key_is_cached_for_a_second_at_least(world: World) -> None:
    with pytest.raises(ConfigError, match="below 1 second"):
        world.keys(max_age=0.5)


def test_a_key_is_named_once(world: World) -> None:
    with pytest.raises(ConfigError, match="given twice"):
        world.keys(world.name, world.name)


async def test_a_throttled_service_is_asked_again(google_world: World, google_kms: GoogleKmsServer) -> None:
    failures = iter([google_kms.error(429), google_kms.error(503)])
    google_kms.fault = lambda _: next(failures, None)
    async with google_world.chain() as chain:
        assert await chain.decode(await chain.encode(SMALL, SCOPE), SCOPE) == SMALL


async def test_a_service_that_stays_away_or_refuses_is_told_apart(
    google_world: World, google_kms: GoogleKmsServer
) -> None:
    google_kms.fault = lambda _: google_kms.error(503)
    async with google_world.chain(deadline=1.0) as chain:
        with pytest.raises(KeyServiceError, match=r"answers 503.*Retry") as caught:
            await chain.encode(SMALL, SCOPE)
        assert caught.value.retryable
        google_kms.fault = lambda _: google_kms.error(403)
        with pytest.raises(KeyServiceError, match="PERMISSION_DENIED") as caught:
            await chain.encode(SMALL, SCOPE)
        assert not caught.value.retryable
    assert await keys_in(google_world.store) == []


async def test_a_hook_that_cannot_wait_is_told_that_a_key_has_to_be_loaded(world: World) -> None:
    async with world.chain() as chain:
        with pytest.raises(KeyUnavailable, match=r"not loaded.*load_keys") as caught:
            chain.begin_upload(SMALL, SCOPE)
        assert caught.value.retryable
        await chain.replaying(SCOPE)
        await chain.load_keys(SCOPE.tenant)
        journal = chain.begin_upload(SMALL, SCOPE)
        assert isinstance(journal, bytes)
        assert await chain.decode(journal, SCOPE) == SMALL


async def test_a_tool_that_took_longer_than_its_key_could_not_save_what_it_had_done(
    google_world: World, google_kms: GoogleKmsServer
) -> None:
    async with google_world.chain(max_age=1.0, deadline=4.0) as chain:
        first = Checkpoints(chain, run="run", tenant=SCOPE.tenant)
        await first.save({"step": 1}, 1)
        async with chain.holding_keys(SCOPE.tenant):
            google_kms.fault = lambda _: google_kms.error(503)
            await asyncio.sleep(1.1)
            await first.save({"step": 2, "charged": LARGE.hex()}, 2)
            journal = await chain.encode(LARGE, SCOPE)
            assert await chain.decode(journal, SCOPE) == LARGE
            async with chain.holding_keys(SCOPE.tenant):
                assert chain.seal_inline(SMALL, SCOPE)
            assert chain.seal_inline(SMALL, SCOPE)
        with pytest.raises(KeyUnavailable):
            await chain.encode(SMALL, SCOPE)
        with pytest.raises(KeyUnavailable):
            async with chain.holding_keys(SCOPE.tenant):
                raise AssertionError("it must not begin")


async def test_what_is_no_key_id_of_the_tenant_is_refused_before_any_object_is_fetched(world: World) -> None:
    async with world.chain() as chain:
        reference = Reference.from_bytes(await chain.encode(LARGE, SCOPE))
        forged = reference.model_copy(update={"key_id": b"none"})
        with pytest.raises(KeyUnavailable, match="no key 6e6f6e65"):
            await chain.decode(forged.to_bytes(), SCOPE)
        edited = reference.model_copy(update={"size": reference.size + 1})
        with pytest.raises(IntegrityError, match="not authentic"):
            await chain.decode(edited.to_bytes(), SCOPE)


async def test_no_key_shows(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    seen: list[bytes] = []

    def watching(service: KeyService) -> KeyService:
        unwrap = service.unwrap

        async def watched(wrapped: bytes, context: dict[str, str]) -> bytes:
            seen.append(await unwrap(wrapped, context))
            return seen[-1]

        service.unwrap = watched  # type: ignore[method-assign, assignment]
        return service

    keys = TenantKeys(world.store, watching(world.kms.service(world.name)), label="test")
    chain = Chain(Zstd(), Encrypt(keys), Offload(world.store, over=256), cache=PayloadCache(0))
    journal = await chain.encode(LARGE, SCOPE)
    assert len(seen) == 2
    shown = [repr(chain), repr(keys), repr(await keys.list()), journal.hex()]
    await world.store.replace((await world.records())[0], b"{}")
    with pytest.raises(FormatError) as caught:
        await world.keys().load_primary(SCOPE.tenant)
    shown += [repr(caught.value), str(caught.value)]
    # The SDKs' own logs at their most talkative level are theirs; ours are looked at.
    shown += [record.getMessage() for record in caplog.records if record.name.startswith("coatcheck")]
    for key in await keys_in(world.store):
        shown += [repr(await world.store.get(key)), (await world.store.get(key)).hex()]
    for secret in seen:
        for text in shown:
            assert secret.hex() not in text
            assert repr(secret)[2:-1] not in text
    await chain.close()
