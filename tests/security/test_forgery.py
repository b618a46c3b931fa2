"""Forged references: ten thousand of them, in every way that a forger has, and not one call of a store."""

import logging
import random
from collections import Counter
from collections.abc import Callable
from itertools import cycle, islice

import pytest

from coatcheck import (
    Chain,
    CoatcheckError,
    Encrypt,
    Keyring,
    Offload,
    PayloadCache,
    Reference,
    Scope,
    Zstd,
)
from coatcheck.contracts.sealing import Sealing
from coatcheck.format.checksum import Checksum
from coatcheck.format.wire import MAGIC
from tests.chains import KEY, OTHER_KEY, SCOPE
from tests.security.stores import WatchedStore

_log = logging.getLogger(__name__)
FORGERIES = 10_000
VICTIM = Scope("tenant-b", "run-9")
_ALIASES = ["default", "other", "prod", "a" * 32, "__", "0"]
_PLACES = [
    b"s3://bucket/key",
    b"../../etc/passwd",
    b"/etc/passwd",
    b"http://127.0.0.1",
    b"a/b",
    b"A",
    b"",
    b"\0",
]


def chain_on(store: WatchedStore, *sealing: Sealing) -> Chain:
    return Chain(Zstd(), *sealing, Offload(store, over=0), cache=PayloadCache(0))


def changed(genuine: Reference, draw: random.Random) -> Reference:
    """Some fields of a genuine reference are another's; the MAC is as it was."""
    values: dict[str, object] = {
        "suite": draw.choice([0, 1, 2, 255]),
        "key_id": draw.choice([bytes(4), OTHER_KEY.id, KEY.id, draw.randbytes(4)]),
        "run_tag": draw.choice([bytes(16), draw.randbytes(16)]),
        "object_id": draw.randbytes(32),
        "size": draw.choice([0, genuine.size + 1, draw.randrange(2**49)]),
        "store": draw.choice(_ALIASES),
        "bases": tuple(draw.randbytes(32) for _ in range(draw.randrange(4))),
        "mac": draw.randbytes(16),
    }
    fields = draw.sample(sorted(values), draw.randrange(1, 4))
    return genuine.model_copy(update={name: values[name] for name in fields})


def with_a_place(genuine: Reference, draw: random.Random) -> bytes:
    """A bucket, path or URL stands where the alias does."""
    place = draw.choice(_PLACES)
    return genuine.to_bytes().replace(b"\x07default", bytes([len(place)]) + place)


def signed(sealing: Sealing, scope: Scope, genuine: Reference, draw: random.Random) -> Reference:
    """Flawless but for the key: what a forger makes who has a key of his own, or none."""
    tag = sealing.run_tag(scope, sealing.primary_key_id(scope.tenant))
    forged = genuine.model_copy(
        update={
            "suite": sealing.suite,
            "key_id": draw.choice([sealing.primary_key_id(scope.tenant), genuine.key_id]),
            "run_tag": draw.choice([tag, genuine.run_tag, bytes(16)]),
        }
    )
    mac = sealing.sealer(scope.tenant, tag, sealing.primary_key_id(scope.tenant)).mac(
        forged.authenticated_bytes()
    )
    return forged.model_copy(update={"mac": mac})


def random_tail(genuine: Reference, draw: random.Random) -> bytes:
    return MAGIC + bytes([1, 2, 1]) + draw.randbytes(draw.randrange(200))


def spliced(first: bytes, second: bytes, draw: random.Random) -> bytes:
    """The front of one and the end of another, both genuine."""
    cut = draw.randrange(28, len(first) - 1)
    return first[:cut] + second[cut:]


async def test_ten_thousand_forgeries_cause_no_io() -> None:
    draw, store = random.Random(8), WatchedStore()
    chain = chain_on(store, Encrypt(Keyring(KEY)))
    mine = Reference.from_bytes(await chain.encode(b"one", SCOPE))
    also_mine = Reference.from_bytes(await chain.encode(b"two", SCOPE))
    victims = Reference.from_bytes(await chain.encode(b"three", VICTIM))
    foreign_key, no_key = Encrypt(Keyring(OTHER_KEY)), Checksum()
    kinds: dict[str, Callable[[], bytes]] = {
        "changed": lambda: changed(mine, draw).to_bytes(),
        "another tenant's": lambda: changed(victims, draw).to_bytes(),
        "with a place": lambda: with_a_place(mine, draw),
        "signed under another key": lambda: signed(foreign_key, SCOPE, mine, draw).to_bytes(),
        "signed for another tenant": lambda: signed(
            Encrypt(Keyring(KEY)), Scope(f"tenant-{draw.random()}"), mine, draw
        ).to_bytes(),
        "never sealed": lambda: signed(no_key, SCOPE, mine, draw).to_bytes(),
        "random": lambda: random_tail(mine, draw),
        "spliced": lambda: spliced(mine.to_bytes(), also_mine.to_bytes(), draw),
    }
    genuine = {mine.to_bytes(), also_mine.to_bytes()}
    store.calls.clear()
    refused = Counter[str]()
    for name in islice(cycle(kinds), FORGERIES):
        forged = kinds[name]()
        while forged in genuine:
            forged = kinds[name]()
        with pytest.raises(CoatcheckError) as caught:
            await chain.open(forged, draw.choice([SCOPE, Scope(SCOPE.tenant)]))
        refused[type(caught.value).__name__] += 1
    _log.info("%d forged references: %d calls of the store, %s", FORGERIES, len(store.calls), dict(refused))
    assert store.calls == []
    assert refused.total() == FORGERIES
    assert set(refused) == {"FormatError", "IntegrityError", "KeyUnavailable"}
    assert all(count > 500 for count in refused.values())


async def test_without_keys_a_forger_stays_in_the_stores_and_below_the_tenant() -> None:
    """A chain without keys cannot tell a forger from itself: what it promises is the shape of what it asks for."""
    draw, store = random.Random(9), WatchedStore()
    chain = chain_on(store)
    mine = Reference.from_bytes(await chain.encode(b"one", SCOPE))
    await chain.encode(b"three", VICTIM)
    tags = {
        scope: Checksum().sealer(scope.tenant, bytes(16), bytes(4)).tenant_tag for scope in (SCOPE, VICTIM)
    }
    store.calls.clear()
    for _ in range(1000):
        forged = changed(mine, draw).model_copy(update={"suite": 0, "key_id": bytes(4), "size": 5})
        mac = Checksum().sealer(SCOPE.tenant, forged.run_tag, bytes(4)).mac(forged.authenticated_bytes())
        with pytest.raises(CoatcheckError):
            await chain.open(forged.model_copy(update={"mac": mac}).to_bytes(), SCOPE)
    assert store.calls
    assert all(key.startswith(f"{tags[SCOPE].hex()}/") for _, key in store.calls)
    assert tags[SCOPE] != tags[VICTIM]
