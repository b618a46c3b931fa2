"""Whether a store's creates are conditional: on real servers, and behind one that ignores the condition."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from coatcheck import CachedStore, ConfigError, FallbackStore, FileStore, MemoryStore, Store, StoreUnavailable
from coatcheck.storage.conditions import check_create_conditions
from coatcheck.stores.gcs import GCSStore
from coatcheck.stores.postgres import PostgresStore
from coatcheck.stores.s3 import S3Store
from tests.engines.aws_kms import REGION, AwsKmsServer, session
from tests.engines.careless_proxy import CarelessProxy
from tests.engines.fault_proxy import Fault, FaultProxy
from tests.engines.gcs import GCSServer
from tests.engines.postgres import PostgresServer
from tests.engines.process import free_port
from tests.stores.s3_fixtures import Bucket, NewStore

IGNORES = "ignores the condition"


class Forgetful(MemoryStore):
    """Looks, then writes: between the two there is room for another."""

    async def create(self, key: str, data: bytes) -> bool:
        there = key in self._objects
        await asyncio.sleep(0)
        if there:
            return False
        await self.replace(key, data)
        return True


class Liar(MemoryStore):
    """Says that the object is there, and overwrites it."""

    async def create(self, key: str, data: bytes) -> bool:
        created = await super().create(key, data)
        await self.replace(key, data)
        return created


async def keys_in(store: Store) -> list[str]:
    return [entry.key async for entry in store.list_objects()]


async def nothing_is_left_of_a_probe(store: Store) -> None:
    await check_create_conditions(store)
    assert await keys_in(store) == []
    await store.close()


async def test_s3_passes_and_is_left_as_it_was(new_store: NewStore) -> None:
    await nothing_is_left_of_a_probe(new_store())


async def test_gcs_passes_and_is_left_as_it_was(gcs_server: GCSServer, gcs_bucket: str) -> None:
    await nothing_is_left_of_a_probe(GCSStore(gcs_bucket, endpoint_url=gcs_server.endpoint))


async def test_postgres_passes_and_is_left_as_it_was(postgres_server: PostgresServer) -> None:
    await nothing_is_left_of_a_probe(PostgresStore(postgres_server.dsn(), table=f"objects_{uuid4().hex}"))


async def test_local_stores_pass_and_are_left_as_they_were(tmp_path: Path) -> None:
    await nothing_is_left_of_a_probe(MemoryStore())
    await nothing_is_left_of_a_probe(FileStore(tmp_path / "files"))
    await nothing_is_left_of_a_probe(CachedStore(MemoryStore(), tmp_path / "cache"))
    await nothing_is_left_of_a_probe(FallbackStore(MemoryStore(), MemoryStore()))


async def test_a_gateway_to_gcs_that_loses_conditions_is_found(
    gcs_server: GCSServer, gcs_bucket: str
) -> None:
    async with CarelessProxy(gcs_server.endpoint) as proxy:
        store = GCSStore(gcs_bucket, endpoint_url=proxy.endpoint)
        for _ in range(2):
            with pytest.raises(ConfigError, match=IGNORES):
                await check_create_conditions(store)
        assert await keys_in(store) == []
        await store.close()
        await proxy.abandoned()


async def test_a_gateway_to_s3_that_loses_conditions_is_found(aws_kms: AwsKmsServer) -> None:
    # In front of moto, which does not look at signatures: S3's cover the condition.
    name = f"bucket-{uuid4().hex}"
    client = session().client("s3", endpoint_url=aws_kms.endpoint)
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    async with CarelessProxy(aws_kms.endpoint) as proxy:
        await nothing_is_left_of_a_probe(S3Store(name, session=session(), endpoint_url=aws_kms.endpoint))
        store = S3Store(name, session=session(), endpoint_url=proxy.endpoint)
        with pytest.raises(ConfigError, match=IGNORES):
            await check_create_conditions(store)
        assert await keys_in(store) == []
        await store.close()
        await proxy.abandoned()


@pytest.mark.parametrize("kind", [Forgetful, Liar])
async def test_a_store_that_looks_before_it_writes_or_overwrites_is_found(kind: type[MemoryStore]) -> None:
    store = kind()
    with pytest.raises(ConfigError, match=IGNORES):
        await check_create_conditions(store)
    assert await keys_in(store) == []


async def test_a_store_is_asked_once_however_many_want_to_know(new_store: NewStore, bucket: Bucket) -> None:
    async with FaultProxy(bucket.server.endpoint) as proxy:
        store = new_store(proxy.endpoint)
        await asyncio.gather(*(check_create_conditions(store) for _ in range(10)))
        asked = [request.method for request, _ in proxy.record]
        assert asked.count("PUT") == 3
        await check_create_conditions(store)
        assert len(proxy.record) == len(asked)
        # Another store is another question.
        await check_create_conditions(new_store(proxy.endpoint))
        assert len(proxy.record) == 2 * len(asked)


async def test_a_store_that_is_busy_is_asked_again_and_nothing_is_left(
    new_store: NewStore, bucket: Bucket
) -> None:
    faults = iter([Fault.BUSY, Fault.NONE, Fault.NONE, Fault.NONE, Fault.LOST_ACKNOWLEDGEMENT])
    async with FaultProxy(bucket.server.endpoint, lambda _: next(faults, Fault.NONE)) as proxy:
        store = new_store(proxy.endpoint)
        await check_create_conditions(store)
    assert bucket.keys(store.prefix) == []


async def test_a_store_that_is_away_proves_nothing() -> None:
    store = S3Store("bucket", session=session(), endpoint_url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailable):
        await check_create_conditions(store)


async def test_a_probe_that_is_cancelled_leaves_nothing(new_store: NewStore, bucket: Bucket) -> None:
    async with FaultProxy(bucket.server.endpoint, lambda _: Fault.LATE, pause=0.2) as proxy:
        store = new_store(proxy.endpoint)
        probing = asyncio.ensure_future(check_create_conditions(store))
        await proxy.arrived(2)
        probing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probing
    assert bucket.keys(store.prefix) == []
