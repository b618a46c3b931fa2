"""What forged references cost where keys have to be asked for: nothing that grows with their number."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from coatcheck import (
    Chain,
    Encrypt,
    IntegrityError,
    KeyDestroyed,
    KeyServiceError,
    KeyUnavailable,
    MemoryStore,
    Offload,
    PayloadCache,
    TenantKeys,
    Zstd,
)
from coatcheck.format.reference import Reference
from tests.chains import SCOPE
from tests.engines.google_kms import GoogleKmsServer
from tests.keys.conftest import of_google
from tests.security.stores import WatchedStore

PAYLOAD = bytes(range(256)) * 40


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class World:
    """One tenant, keys in a store of their own that is watched, and a process that reads."""

    def __init__(self, server: GoogleKmsServer) -> None:
        self.server = server
        self.name = server.new_key()
        self.payloads = MemoryStore()
        self.records = WatchedStore()
        self.opened: list[TenantKeys] = []

    def process(self, deadline: float = 8.0) -> tuple[Chain, TenantKeys]:
        keys = TenantKeys(
            self.records, of_google(self.server).service(self.name), label="test", deadline=deadline
        )
        self.opened.append(keys)
        return Chain(Zstd(), Encrypt(keys), Offload(self.payloads, over=256), cache=PayloadCache(0)), keys

    @property
    def listings(self) -> int:
        return sum(call == "list" for call, _ in self.records.calls)

    def forget_calls(self) -> None:
        self.records.calls.clear()
        self.server.asked.clear()


@pytest.fixture
async def world(google_kms: GoogleKmsServer) -> AsyncIterator[World]:
    world = World(google_kms)
    yield world
    for keys in world.opened:
        await keys.close()


async def _refused(chain: Chain, forged: Reference) -> type[Exception]:
    with pytest.raises((IntegrityError, KeyUnavailable)) as caught:
        await chain.decode(forged.to_bytes(), SCOPE)
    return caught.type


async def test_a_hundred_references_with_a_known_key_and_huge_sizes_cost_nothing(world: World) -> None:
    chain, _ = world.process()
    journal = await chain.encode(PAYLOAD, SCOPE)
    reference = Reference.from_bytes(journal)
    world.forget_calls()
    for number in range(100):
        assert await _refused(chain, reference.model_copy(update={"size": 2**48 - number})) is IntegrityError
    assert (world.records.calls, world.server.asked) == ([], [])
    # In an outage of the key service they take nothing from honest work, either.
    world.server.fault = lambda _: world.server.error(503)
    assert await chain.decode(journal, SCOPE) == PAYLOAD
    assert await chain.encode(PAYLOAD, SCOPE) == journal


async def test_a_hundred_references_with_made_up_keys_cause_two_listings(world: World) -> None:
    chain, _ = world.process()
    reference = Reference.from_bytes(await chain.encode(PAYLOAD, SCOPE))
    world.forget_calls()
    forged = [reference.model_copy(update={"key_id": number.to_bytes(4, "big")}) for number in range(100)]
    assert set(await asyncio.gather(*(_refused(chain, one) for one in forged))) == {KeyUnavailable}
    assert world.listings <= 2
    assert world.server.asked == []
    listings = world.listings
    # Again, one after the other: they are remembered.
    for one in forged:
        assert await _refused(chain, one) is KeyUnavailable
    assert world.listings == listings


async def test_listings_for_made_up_keys_are_a_second_apart(world: World) -> None:
    chain, _ = world.process()
    reference = Reference.from_bytes(await chain.encode(PAYLOAD, SCOPE))
    world.forget_calls()
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(3):
        await _refused(chain, reference.model_copy(update={"key_id": number.to_bytes(4, "big")}))
    assert world.listings <= loop.time() - began + 1


async def test_a_key_that_was_made_just_after_a_forgery_is_found(world: World) -> None:
    reader, _ = world.process()
    reference = Reference.from_bytes(await reader.encode(PAYLOAD, SCOPE))
    await _refused(reader, reference.model_copy(update={"key_id": b"none"}))
    writer, keys = world.process()
    await keys.rotate(SCOPE.tenant)
    journal = await writer.encode(PAYLOAD, SCOPE)
    assert Reference.from_bytes(journal).key_id != reference.key_id
    assert await reader.decode(journal, SCOPE) == PAYLOAD


async def test_a_key_that_is_about_to_be_too_old_serves_through_an_outage_until_it_is(world: World) -> None:
    chain, keys = world.process(deadline=4.0)
    clock = keys._cache._clock = Clock()
    journal = await chain.encode(PAYLOAD, SCOPE)
    world.server.fault = lambda _: world.server.error(503)
    clock.now = keys.max_age * 0.95
    world.forget_calls()
    assert await chain.decode(journal, SCOPE) == PAYLOAD
    assert await chain.encode(PAYLOAD, SCOPE) == journal
    asked = len(world.server.asked)
    assert asked
    # A renewal that failed is left alone for a while.
    for _ in range(5):
        assert await chain.decode(journal, SCOPE) == PAYLOAD
    assert len(world.server.asked) == asked
    clock.now = keys.max_age
    with pytest.raises(KeyServiceError, match="answers 503"):
        await chain.decode(journal, SCOPE)
    world.server.fault = lambda _: None
    assert await chain.decode(journal, SCOPE) == PAYLOAD


async def test_a_key_is_renewed_before_it_is_too_old(world: World) -> None:
    chain, keys = world.process()
    clock = keys._cache._clock = Clock()
    journal = await chain.encode(PAYLOAD, SCOPE)
    world.forget_calls()
    clock.now = keys.max_age * 0.95
    for _ in range(20):
        assert await chain.decode(journal, SCOPE) == PAYLOAD
    assert len(world.server.asked) == 1
    clock.now = keys.max_age * 1.5
    assert await chain.decode(journal, SCOPE) == PAYLOAD
    assert len(world.server.asked) == 1


async def test_a_key_that_was_destroyed_is_let_go_of_when_it_is_renewed(world: World) -> None:
    chain, keys = world.process()
    clock = keys._cache._clock = Clock()
    journal = await chain.encode(PAYLOAD, SCOPE)
    await world.process()[1].shred(SCOPE.tenant)
    assert await chain.decode(journal, SCOPE) == PAYLOAD
    clock.now = keys.max_age * 0.95
    with pytest.raises(KeyDestroyed, match="destroyed"):
        await chain.decode(journal, SCOPE)


async def test_a_destroyed_key_that_was_asked_for_again_was_a_missing_one(world: World) -> None:
    """Findings are remembered for a while, as what they are."""
    chain, keys = world.process()
    journal = await chain.encode(PAYLOAD, SCOPE)
    await keys.shred(SCOPE.tenant)
    reader, _ = world.process()
    errors = []
    for _ in range(3):
        with pytest.raises(KeyDestroyed) as caught:
            await reader.decode(journal, SCOPE)
        assert not caught.value.retryable
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 3
    assert len({str(error) for error in errors}) == 1


async def test_a_service_that_refuses_was_asked_until_the_key_was_too_old(world: World) -> None:
    """An outage is ridden out with the cached key; a refusal is for somebody to mend, and is said at once."""
    chain, keys = world.process(deadline=1.0)
    clock = keys._cache._clock = Clock()
    journal = await chain.encode(PAYLOAD, SCOPE)
    world.server.fault = lambda _: world.server.error(403)
    clock.now = keys.max_age * 0.95
    with pytest.raises(KeyServiceError, match="PERMISSION_DENIED") as caught:
        await chain.decode(journal, SCOPE)
    assert not caught.value.retryable
