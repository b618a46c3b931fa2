"""What the chain asks of the real S3 server, counted at the wire: once for a new payload, and in a race."""

import asyncio
import random
from collections import Counter

from coatcheck import Chain, Encrypt, Keyring, Offload, PayloadCache, Zstd
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.stores.s3 import S3Store
from tests.chains import KEY, SCOPE
from tests.engines.fault_proxy import FaultProxy
from tests.stores.s3_fixtures import Bucket, NewStore

WRITERS = 64
PATIENCE = 120.0
"""Seconds. SeaweedFS makes each loser of a race wait for a lock, in turns of a second."""


def _chain(store: S3Store) -> Chain:
    return Chain(
        Zstd(), Encrypt(Keyring(KEY)), Offload(store, over=256, deadline=PATIENCE), cache=PayloadCache(0)
    )


def _payload(number: int) -> bytes:
    return random.Random(number).randbytes(40_000)


async def test_one_request_for_each_new_payload_and_none_before_it(
    bucket: Bucket, new_store: NewStore
) -> None:
    async with FaultProxy(bucket.server.endpoint) as proxy:
        chain = _chain(new_store(proxy.endpoint))
        assert proxy.record == []
        references = []
        for number in range(5):
            references.append(await chain.encode(_payload(number), SCOPE))
            assert [request.method for request, _ in proxy.record] == ["PUT"] * (number + 1)
        await chain.encode(_payload(0), SCOPE)
        assert len(proxy.record) == 5, "what this chain wrote is there"
    assert len(set(references)) == 5


async def test_many_new_payloads_at_once_are_one_request_each(bucket: Bucket, new_store: NewStore) -> None:
    async with FaultProxy(bucket.server.endpoint) as proxy:
        chain = _chain(new_store(proxy.endpoint))
        await all_at_once(
            chain.encode(payload, SCOPE) for payload in [_payload(number) for number in range(100)]
        )
        assert [request.method for request, _ in proxy.record] == ["PUT"] * 100
        assert len({request.target for request, _ in proxy.record}) == 100


async def test_racing_writers_of_one_payload(bucket: Bucket, new_store: NewStore) -> None:
    """As 64 workers that encode the same result at the same time: one object, no error, one reference."""
    payload = _payload(0)
    async with FaultProxy(bucket.server.endpoint) as proxy:
        store = new_store(proxy.endpoint, timeout=PATIENCE)
        references = await asyncio.gather(*(_chain(store).encode(payload, SCOPE) for _ in range(WRITERS)))
        assert len(set(references)) == 1
        asked = Counter(
            "LIST" if "list-type=2" in request.target else request.method for request, _ in proxy.record
        )
    # Each loser looks at what it found, and lists the run, which it seems to be replaying.
    assert asked["PUT"] == WRITERS
    assert asked["GET"] == WRITERS - 1
    assert asked["LIST"] <= WRITERS - 1
    assert len(bucket.keys(store.prefix)) == 1
    assert await _chain(new_store()).decode(references[0], SCOPE) == payload
