"""Cancelled at every await: no task is left, no place in the process's limits, and nothing refers to what is not there."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from coatcheck import (
    Chain,
    Checkpoints,
    Encrypt,
    IntegrityError,
    Keyring,
    KeyService,
    KeySource,
    MemoryStore,
    Offload,
    PayloadCache,
    Scope,
    StoredObject,
    TenantKeys,
    Zstd,
)
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.limiter import _limiters
from tests.chains import KEY, SCOPE, Reverse, history

PAYLOADS = [bytes([number]) * 20 + b"".join(n.to_bytes(2, "big") for n in range(2000)) for number in range(4)]
"""Each much like the last: deltas."""
SMALL = b"stays in the journal"
_log = logging.getLogger(__name__)
_MOST_TURNS = 400
"""Of the event loop; what takes longer never ends."""


class Yielding(MemoryStore):
    """Gives way before and after everything that it does, as a store on a network does."""

    async def create(self, key: str, data: bytes) -> bool:
        await asyncio.sleep(0)
        created = await super().create(key, data)
        await asyncio.sleep(0)
        return created

    async def replace(self, key: str, data: bytes) -> None:
        await asyncio.sleep(0)
        await super().replace(key, data)
        await asyncio.sleep(0)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        await asyncio.sleep(0)
        data = await super().get(key, limit)
        await asyncio.sleep(0)
        return data

    async def delete(self, key: str) -> None:
        await asyncio.sleep(0)
        await super().delete(key)
        await asyncio.sleep(0)

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        await asyncio.sleep(0)
        async for found in super().list_objects(prefix):
            yield found
            await asyncio.sleep(0)


class LocalKms(KeyService):
    """Wraps under a key of its own, and gives way: a service on a network cannot be cut at each of its awaits."""

    kind = "a key of this test"

    def __init__(self, name: str) -> None:
        self.name = name
        self._cipher = AESGCM(name.encode().ljust(32))

    async def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        await asyncio.sleep(0)
        nonce = os.urandom(12)
        return nonce + self._cipher.encrypt(nonce, secret, repr(sorted(context.items())).encode())

    async def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        await asyncio.sleep(0)
        bound = repr(sorted(context.items())).encode()
        try:
            return self._cipher.decrypt(wrapped[:12], wrapped[12:], bound)
        except InvalidTag:
            raise IntegrityError("it was not wrapped here") from None


class World:
    """A store with something in it, and processes that know nothing of each other."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.store = Yielding()

    def keys(self) -> KeySource:
        return (
            TenantKeys(self.store, LocalKms("first"), label="test")
            if self.kind == "tenant-keys"
            else Keyring(KEY)
        )

    def chain(self) -> Chain:
        return Chain(Zstd(), Encrypt(self.keys()), Offload(self.store, over=256), cache=PayloadCache(2**24))


Operation = Callable[[Chain], Awaitable[object]]


async def prepared(world: World) -> list[bytes]:
    """Journals of what is there before anything is cut."""
    async with world.chain() as chain:
        journals = [await chain.encode(payload, SCOPE) for payload in PAYLOADS]
        await Checkpoints(chain, run="saved", tenant=SCOPE.tenant).save(PAYLOADS[0], 1)
        return [*journals, await chain.encode(SMALL, SCOPE)]


def _new(chain: Chain) -> Awaitable[object]:
    return chain.encode(PAYLOADS[0][::-1], Scope(SCOPE.tenant, "new"))


def _operations(journals: list[bytes]) -> dict[str, Operation]:
    def checkpoints(chain: Chain) -> Checkpoints:
        return Checkpoints(chain, run="saved", tenant=SCOPE.tenant)

    everything = [*PAYLOADS, SMALL]
    return {
        "encode": _new,
        "encode inline": lambda chain: chain.encode(SMALL, SCOPE),
        "encode what is there": lambda chain: chain.encode(PAYLOADS[-1], SCOPE),
        "encode for a new tenant": lambda chain: chain.encode(PAYLOADS[0], Scope("new", "run")),
        "encode a batch": lambda chain: all_at_once(
            chain.encode(payload, Scope(SCOPE.tenant, "batch")) for payload in everything
        ),
        "put": lambda chain: chain.put(SMALL, Scope(SCOPE.tenant, "put")),
        "decode": lambda chain: chain.decode(journals[0], SCOPE),
        "decode a delta": lambda chain: chain.decode(journals[3], SCOPE),
        "decode inline": lambda chain: chain.decode(journals[-1], SCOPE),
        "decode a batch": lambda chain: all_at_once(chain.decode(journal, SCOPE) for journal in journals),
        "load keys": lambda chain: chain.load_keys(SCOPE.tenant),
        "save": lambda chain: checkpoints(chain).save(PAYLOADS[1], 2),
        "restore": lambda chain: checkpoints(chain).restore(),
        "history": lambda chain: history(checkpoints(chain)),
    }


@pytest.mark.parametrize("kind", ["keyring", "tenant-keys"])
@pytest.mark.parametrize("name", _operations([b""] * 5))
async def test_every_operation_of_a_chain(kind: str, name: str) -> None:
    cuts = 0
    for turns in range(_MOST_TURNS):
        world = World(kind)
        journals = await prepared(world)
        operation = _operations(journals)[name]
        async with world.chain() as chain:
            finished = await _cut(operation(chain), turns)
            cuts += not finished
            await chain.close()
            await _nothing_is_left()
            # In the process in which it was cut ...
            await operation(chain)
            assert await all_at_once(chain.decode(payload, SCOPE) for payload in journals) == [
                *PAYLOADS,
                SMALL,
            ]
        await _nothing_is_left()
        # ... and in one that knows nothing: all that was handed out is there, and what is listed can be restored.
        async with world.chain() as fresh:
            assert await all_at_once(fresh.decode(payload, SCOPE) for payload in journals) == [
                *PAYLOADS,
                SMALL,
            ]
            again = await _new(fresh)
            assert isinstance(again, bytes)
            assert await fresh.decode(again, Scope(SCOPE.tenant, "new")) == PAYLOADS[0][::-1]
            saved = Checkpoints(fresh, run="saved", tenant=SCOPE.tenant)
            states = [await saved.read(found) for found in await history(saved)]
            assert states == PAYLOADS[: len(states)]
        await _nothing_is_left()
        if finished:
            # The operation was quicker than the cut: every await of it has been cut once.
            assert cuts == turns
            _log.info("%s, %s: cut at %d places", name, kind, cuts)
            return
    raise AssertionError("it never ends")


_KEY_OPERATIONS: dict[str, Callable[[TenantKeys], Awaitable[object]]] = {
    "load_primary": lambda keys: keys.load_primary("tenant"),
    "load_all": lambda keys: keys.load_all("tenant"),
    "rotate": lambda keys: keys.rotate("tenant"),
    "rotate_all": lambda keys: keys.rotate_all(),
    "list": lambda keys: keys.list(),
    "shred": lambda keys: keys.shred("tenant"),
    "rekey": lambda keys: keys.rekey(),
}


@pytest.mark.parametrize("name", _KEY_OPERATIONS)
async def test_every_operation_on_keys(name: str) -> None:
    """Whatever was cut, the other tenant's payload opens, and the tenant's own, unless it was being shredded."""
    for turns in range(_MOST_TURNS):
        store = Yielding()

        def chain(store: Yielding = store) -> Chain:
            keys = TenantKeys(store, LocalKms("second"), LocalKms("first"), label="test")
            return Chain(Encrypt(keys), Offload(store, over=10**6), cache=PayloadCache(0))

        async with Chain(Encrypt(TenantKeys(store, LocalKms("first"), label="test"))) as before:
            journals = {tenant: await before.encode(SMALL, Scope(tenant)) for tenant in ("tenant", "other")}
        keys = TenantKeys(store, LocalKms("second"), LocalKms("first"), label="test")
        finished = await _cut(_KEY_OPERATIONS[name](keys), turns)
        await _nothing_is_left()
        assert await keys.rekey() >= 2
        await keys.close()
        await _nothing_is_left()
        async with Chain(Encrypt(TenantKeys(store, LocalKms("second"), label="test"))) as after:
            assert await after.decode(journals["other"], Scope("other")) == SMALL
            if name != "shred":
                assert await after.decode(journals["tenant"], Scope("tenant")) == SMALL
            again = await after.encode(SMALL, Scope("tenant"))
            assert await after.decode(again, Scope("tenant")) == SMALL
        if finished:
            assert turns > 3
            _log.info("%s of keys: cut at %d places", name, turns)
            return
    raise AssertionError("it never ends")


class Gated(Reverse):
    """A codec that waits, in whatever thread it is called."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def encode(self, data: bytes) -> bytes | None:
        self.entered.set()
        assert self.go_on.wait(60)
        return super().encode(data)


async def test_while_a_thread_computes() -> None:
    """A thread cannot be stopped; what it comes to is dropped, and nothing is stored."""
    store, codec, payload = MemoryStore(), Gated(), os.urandom(200_000)
    chain = Chain(codec, Encrypt(Keyring(KEY)), Offload(store, over=256), cache=PayloadCache(0))
    task = asyncio.create_task(chain.encode(payload, SCOPE))
    await asyncio.to_thread(codec.entered.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    codec.go_on.set()
    assert [found async for found in store.list_objects()] == []
    assert await chain.decode(await chain.encode(payload, SCOPE), SCOPE) == payload
    await _nothing_is_left()


async def _cut(operation: Awaitable[object], turns: int) -> bool:
    """Cancel it after so many turns of the loop; whether it was done by then."""
    task = asyncio.ensure_future(operation)
    for _ in range(turns):
        await asyncio.sleep(0)
    finished = task.done()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() is not finished, "a cancellation is never swallowed"
    return finished


async def _nothing_is_left() -> None:
    # For cancellations to reach those that were waited for; too little for one of them to end by itself.
    for _ in range(3):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    for limiters in list(_limiters._of.values()):
        for limiter in limiters:
            assert (limiter._operations, limiter._size, limiter._queued) == (0, 0, 0)
