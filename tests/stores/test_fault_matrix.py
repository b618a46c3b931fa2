"""Faults of each kind for each store, through a whole chain on the real servers (docs/verification.md has the table)."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from coatcheck import (
    Chain,
    Encrypt,
    FileStore,
    FormatError,
    GCSStore,
    IntegrityError,
    Keyring,
    MemoryStore,
    Offload,
    PayloadCache,
    PayloadNotFound,
    PostgresStore,
    S3Store,
    Scope,
    Store,
    StoreUnavailable,
    Zstd,
)
from coatcheck.format.reference import Reference
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.client import StoreClient
from coatcheck.storage.limiter import Limiter, limiter_of
from tests.chains import KEY
from tests.engines.fault_proxy import DAMAGE, Fault, FaultProxy, Plan, Proxy, Request
from tests.engines.gcs import GCSServer
from tests.engines.postgres import PostgresServer
from tests.engines.postgres_fault_proxy import PostgresFaultProxy
from tests.stores.s3_fixtures import Bucket, session_of

SCOPE = Scope("tenant", "run")
PAYLOAD = secrets.token_bytes(3_000).hex().encode()
HASTE = 1.5
"""Seconds for one call of the store with all its attempts, where the fault stays."""
PATIENCE = 30.0
"""Seconds for the same where it passes."""


@dataclass(frozen=True, slots=True)
class Site:
    """A kind of store, and how to reach it past everything, or by way of a proxy."""

    direct: Callable[[], Store]
    proxy: Callable[[Plan], Proxy]
    through: Callable[[Proxy, float], Store]
    """The store behind a proxy, with the seconds that one request may take."""
    writes: str
    """Method of the request that makes an object."""
    reads: str
    """Part of the target of the request that reads one."""
    unknown: frozenset[Fault] = frozenset()
    """Faults that its protocol does not have."""

    def is_write(self, request: Request) -> bool:
        return request.method == self.writes

    def is_read(self, request: Request) -> bool:
        return request.method in {"GET", "SELECT"} and self.reads in request.target

    @asynccontextmanager
    async def spoilt(
        self, plan: Plan, *, deadline: float = PATIENCE, timeout: float = 2.0
    ) -> AsyncIterator[tuple[Proxy, Chain]]:
        """A chain of a process that knows nothing yet, on a store behind a proxy."""
        async with self.proxy(plan) as proxy, chain_on(self.through(proxy, timeout), deadline) as chain:
            yield proxy, chain


def chain_on(store: Store, deadline: float = PATIENCE) -> Chain:
    offload = Offload(store, over=256, deadline=deadline)
    return Chain(Zstd(), Encrypt(Keyring(KEY)), offload, cache=PayloadCache(0))


async def keys_in(store: Store) -> list[str]:
    return [found.key async for found in store.list_objects()]


def s3(bucket: Bucket) -> Site:
    session = session_of(bucket.server.access_key, bucket.server.secret_key)
    prefix = secrets.token_hex(8)

    def at(endpoint: str, timeout: float) -> Store:
        return S3Store(bucket.name, prefix, session=session, endpoint_url=endpoint, timeout=timeout)

    server = bucket.server.endpoint
    return Site(
        lambda: at(server, 60), lambda plan: FaultProxy(server, plan), _by_http(at), "PUT", f"/{prefix}/"
    )


def gcs(server: GCSServer) -> Site:
    bucket = f"bucket-{secrets.token_hex(8)}"
    httpx.post(f"{server.endpoint}/storage/v1/b", json={"name": bucket}).raise_for_status()

    def at(endpoint: str, timeout: float) -> Store:
        return GCSStore(bucket, endpoint_url=endpoint, timeout=timeout)

    endpoint = server.endpoint
    return Site(
        lambda: at(endpoint, 60), lambda plan: FaultProxy(endpoint, plan), _by_http(at), "POST", "alt=media"
    )


async def postgres(server: PostgresServer) -> Site:
    table = f"objects_{secrets.token_hex(8)}"
    made = PostgresStore(server.dsn(), table=table)
    await made.init()
    await made.close()

    def through(proxy: Proxy, timeout: float) -> Store:
        assert isinstance(proxy, PostgresFaultProxy)
        return PostgresStore(proxy.dsn, table=table, timeout=timeout)

    return Site(
        lambda: PostgresStore(server.dsn(), table=table),
        lambda plan: PostgresFaultProxy(server, plan),
        through,
        "INSERT",
        "SELECT size",
        frozenset({Fault.BUSY_RETRY_AFTER}),
    )


def _by_http(at: Callable[[str, float], Store]) -> Callable[[Proxy, float], Store]:
    def through(proxy: Proxy, timeout: float) -> Store:
        assert isinstance(proxy, FaultProxy)
        return at(proxy.endpoint, timeout)

    return through


@pytest.fixture(params=["s3", "gcs", "postgres"])
async def site(request: pytest.FixtureRequest) -> Site:
    """Every store that is reached over a network."""
    match request.param:
        case "s3":
            return s3(request.getfixturevalue("bucket"))
        case "gcs":
            return gcs(request.getfixturevalue("gcs_server"))
        case _:
            return await postgres(request.getfixturevalue("postgres_server"))


@pytest.fixture(params=["memory", "file", "s3", "gcs", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Every store."""
    match request.param:
        case "memory":
            made: Store = MemoryStore()
        case "file":
            made = FileStore(tmp_path)
        case "s3":
            made = s3(request.getfixturevalue("bucket")).direct()
        case "gcs":
            made = gcs(request.getfixturevalue("gcs_server")).direct()
        case _:
            made = (await postgres(request.getfixturevalue("postgres_server"))).direct()
    yield made
    await made.close()


_TRANSPORT = [fault for fault in Fault if fault not in DAMAGE | {Fault.NONE}]


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.NONE])
async def test_a_fault_that_passes_is_not_noticed(site: Site, fault: Fault) -> None:
    """The first write meets it, and whatever the first process asks afterwards does not; then the first read does."""
    reference = b""
    for is_met in (site.is_write, site.is_read):
        left = [fault]

        def plan(request: Request) -> Fault:
            return left.pop() if left and is_met(request) else Fault.NONE  # noqa: B023 - done before it is rebound

        async with site.spoilt(plan) as (proxy, chain):
            if not reference:
                reference = await chain.encode(PAYLOAD, SCOPE)
                assert len(await keys_in(site.direct())) == 1
            else:
                assert await chain.decode(reference, SCOPE) == PAYLOAD
        assert left == [], [request.target for request, _ in proxy.record]
    async with chain_on(site.direct()) as past:
        assert await past.decode(reference, SCOPE) == PAYLOAD


@pytest.mark.parametrize("fault", [fault for fault in _TRANSPORT if fault not in {Fault.SLOW, Fault.LATE}])
async def test_a_fault_that_stays_is_unavailable_when_the_deadline_is_over(site: Site, fault: Fault) -> None:
    if fault in site.unknown:
        return
    async with chain_on(site.direct()) as past:
        kept = await past.encode(PAYLOAD, SCOPE)

        async def met(is_met: Callable[[Request], bool], *, reads: bool) -> None:
            def plan(request: Request) -> Fault:
                return fault if is_met(request) else Fault.NONE

            clock = asyncio.get_running_loop().time
            async with site.spoilt(plan, deadline=HASTE, timeout=HASTE / 3) as (proxy, chain):
                started = clock()
                with pytest.raises(StoreUnavailable):
                    await (chain.decode(kept, SCOPE) if reads else chain.encode(PAYLOAD[::-1], SCOPE))
                assert clock() - started < HASTE + 5
                attempts = sum(is_met(request) for request, _ in proxy.record)
                # Again and again, with pauses that grow; once perhaps, where it says or takes longer than there is.
                assert (fault not in {Fault.BUSY_RETRY_AFTER, Fault.SILENT}) < attempts < 40

        await met(site.is_read, reads=True)
        # S3 answers a write without a body: there is nothing to cut.
        if fault is not Fault.TRUNCATED:
            await met(site.is_write, reads=False)
        # Whatever became of it, nothing is there in part, and the next try is as good as the first.
        async with chain_on(site.direct()) as after:
            assert await after.decode(await after.encode(PAYLOAD[::-1], SCOPE), SCOPE) == PAYLOAD[::-1]
    assert len(await keys_in(site.direct())) == 2


@pytest.mark.parametrize("fault", [Fault.SHORT, Fault.FLIPPED])
async def test_damage_on_the_way_that_stays_is_an_error_after_one_more_fetch(
    site: Site, fault: Fault
) -> None:
    async with chain_on(site.direct()) as past:
        kept = await past.encode(PAYLOAD, SCOPE)

    def plan(request: Request) -> Fault:
        return fault if site.is_read(request) else Fault.NONE

    async with site.spoilt(plan) as (proxy, chain):
        with pytest.raises((IntegrityError, FormatError)):
            await chain.decode(kept, SCOPE)
        assert [site.is_read(request) for request, _ in proxy.record].count(True) == 2


async def test_an_acknowledgement_that_was_lost_is_met_again_and_verified(site: Site) -> None:
    left = [Fault.LOST_ACKNOWLEDGEMENT]

    def plan(request: Request) -> Fault:
        return left.pop() if left and site.is_write(request) else Fault.NONE

    async with site.spoilt(plan) as (proxy, chain):
        reference = await chain.encode(PAYLOAD, SCOPE)
        asked = [request for request, _ in proxy.record if site.is_write(request) or site.is_read(request)]
        # Lost, met again, looked at: nothing is written a third time.
        assert [site.is_write(request) for request in asked] == [True, True, False]
    assert len(await keys_in(site.direct())) == 1
    async with chain_on(site.direct()) as past:
        assert await past.decode(reference, SCOPE) == PAYLOAD


async def test_a_silent_server_was_waited_for_beyond_the_deadline(site: Site) -> None:
    """psycopg waited up to ten seconds for PostgreSQL to end a statement, after that was given up."""
    async with chain_on(site.direct()) as past:
        kept = await past.encode(PAYLOAD, SCOPE)
    async with site.spoilt(lambda _: Fault.SILENT, deadline=HASTE, timeout=60) as (_, chain):
        clock = asyncio.get_running_loop().time
        started = clock()
        with pytest.raises(StoreUnavailable, match="no answer within"):
            await chain.decode(kept, SCOPE)
        assert clock() - started < HASTE + 2


async def test_an_object_that_is_gone_is_told_at_once(store: Store) -> None:
    async with chain_on(store) as chain:
        kept, gone = await chain.encode(PAYLOAD, SCOPE), await chain.encode(PAYLOAD[::-1], SCOPE)
        gone_id = Reference.from_bytes(gone).object_id.hex()
        [key] = [key for key in await keys_in(store) if key.endswith(gone_id)]
        await store.delete(key)
    async with chain_on(store) as fresh, asyncio.timeout(PATIENCE / 2):
        with pytest.raises(PayloadNotFound, match=gone_id):
            await fresh.decode(gone, SCOPE)
        assert await fresh.decode(kept, SCOPE) == PAYLOAD


async def test_damage_where_it_lies_is_always_noticed(store: Store) -> None:
    """Bits and ends here and there; ``tests/pipeline/test_tampering.py`` tries every one of them."""
    async with chain_on(store) as chain:
        reference = await chain.encode(PAYLOAD, SCOPE)
        [key] = await keys_in(store)
        good = await store.get(key)
        flipped = [
            good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :]
            for at in (*range(0, len(good), len(good) // 12), len(good) - 1)
        ]
        for bad in (*flipped, b"", good[:-1], good[: len(good) // 2], good + b"\0"):
            await store.replace(key, bad)
            with pytest.raises((IntegrityError, FormatError)):
                await chain.decode(reference, SCOPE)
        # Who writes the payload once more puts it right.
        async with chain_on(store) as writer:
            assert await writer.encode(PAYLOAD, SCOPE) == reference
        assert await store.get(key) == good
        assert await chain.decode(reference, SCOPE) == PAYLOAD


async def test_cancelled_after_each_turn_of_the_loop(store: Store) -> None:
    """No task is left, no place in the process's limit, and no reference to an object that is not there."""
    turns, finished = 0, False
    payloads = [PAYLOAD, PAYLOAD[::-1]]
    while not finished:
        scope = Scope("tenant", f"{turns}")
        async with chain_on(store) as chain:
            task = asyncio.create_task(all_at_once(chain.encode(payload, scope) for payload in payloads))
            for _ in range(turns):
                await asyncio.sleep(0)
            finished = task.done()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() is not finished
            journals = await all_at_once(chain.encode(payload, scope) for payload in payloads)
        async with chain_on(store) as fresh:
            assert await all_at_once(fresh.decode(payload, scope) for payload in journals) == payloads
        assert limiter_of(store)._operations == 0
        # A thread that writes a file ends by itself.
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
        turns = turns + 1 if turns < 16 else turns * 4 // 3


async def test_a_thousand_writes_through_a_pool_of_one(store: Store) -> None:
    client = StoreClient(store, PATIENCE, Limiter(1, 2**20))
    async with asyncio.timeout(3 * PATIENCE):
        outcomes = await asyncio.gather(
            *(client.create(f"a/{number}", b"x" * 500) for number in range(1_000))
        )
    assert all(outcomes)
    assert len(await keys_in(store)) == 1_000
