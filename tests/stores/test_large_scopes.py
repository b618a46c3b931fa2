"""Cold processes in a scope with very many objects, on the real S3 server: a handful of requests each.

``COATCHECK_LARGE_SCOPE=100000`` makes it as large as the runs that once stopped every worker that came anew.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable

from coatcheck import Chain, Checkpoints, Encrypt, Keyring, Offload, PayloadCache, Scope, Zstd
from coatcheck.contracts.store import Store
from coatcheck.format.reference import Reference
from tests.chains import KEY
from tests.engines.fault_proxy import Fault, FaultProxy, Request
from tests.stores.s3_fixtures import Bucket, NewStore

OBJECTS = int(os.environ.get("COATCHECK_LARGE_SCOPE", "2500"))
AT_ONCE = 64
MOST = 4
"""Requests."""
RUN = "a run of many steps"
SCOPE = Scope("default", RUN)
CHECKPOINTS = Scope("default", RUN, engine="checkpoints")


def chain_on(store: Store) -> Chain:
    return Chain(
        Zstd(), Encrypt(Keyring(KEY)), Offload(store, over=64, deadline=60), cache=PayloadCache(2**20)
    )


def payload(number: int) -> bytes:
    return hashlib.sha512(number.to_bytes(8)).digest() * 8


async def filled(store: Store, prefix: str) -> None:
    """Put many objects below the prefix, such as nobody has asked for yet."""

    async def put(part: int) -> None:
        for number in range(part, OBJECTS, AT_ONCE):
            await store.create(
                prefix + hashlib.sha256(number.to_bytes(8)).hexdigest(), b"sealed by another release"
            )

    await asyncio.gather(*map(put, range(AT_ONCE)))


async def test_cold_calls_in_a_large_scope_listed_it_whole(new_store: NewStore, bucket: Bucket) -> None:
    direct = new_store()
    first = chain_on(direct)
    journal = await first.encode(payload(1), SCOPE)
    await Checkpoints(first, run=RUN).save({"step": 1}, step=1)
    prefixes = {entry.key.rpartition("/")[0] + "/" async for entry in direct.list_objects()}
    assert len(prefixes) == 2
    for prefix in prefixes:
        await filled(direct, prefix)

    requests: list[str] = []

    def plan(request: Request) -> Fault:
        requests.append(f"{request.method} {request.target[:120]}")
        return Fault.NONE

    async def encode_new(chain: Chain) -> None:
        await chain.encode(payload(2), SCOPE)

    async def encode_again(chain: Chain) -> None:
        assert await chain.encode(payload(1), SCOPE) == journal

    async def decode(chain: Chain) -> None:
        assert Reference.from_bytes(journal).bases == ()
        assert await chain.decode(journal, SCOPE) == payload(1)

    async def replay(chain: Chain) -> None:
        await chain.replaying(SCOPE)
        assert await chain.encode(payload(1), SCOPE) == journal

    async def save(chain: Chain) -> None:
        await Checkpoints(chain, run=RUN).save({"step": 2}, step=2)

    async with FaultProxy(bucket.server.endpoint, plan) as proxy:
        calls: list[tuple[Callable[[Chain], Awaitable[None]], int]] = [
            (encode_new, 1),
            (encode_again, MOST),
            (decode, MOST),
            (save, MOST),
        ]
        for call, most in calls:
            async with chain_on(new_store(endpoint=proxy.endpoint)) as chain:
                requests.clear()
                started = time.monotonic()
                await call(chain)
                print(f"{call.__name__}: {len(requests)} requests, {time.monotonic() - started:.2f} s")  # noqa: T201
                assert len(requests) <= most, requests
        async with chain_on(new_store(endpoint=proxy.endpoint)) as chain:
            requests.clear()
            await replay(chain)
            # The engine's word for a replay is worth four pages.
            assert sum("list-type" in request for request in requests) <= 4 + 1
