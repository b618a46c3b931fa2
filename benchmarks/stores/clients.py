"""A process with one client: ``python benchmarks/stores/clients.py SERVICE CASE ENDPOINT BUCKET [ACCESS_KEY SECRET_KEY]``.

Each line of standard input is a task in JSON, each line of standard output its figures. It needs only the client of its case
to be installed, so that clients with different versions of one package can be compared.
"""

import asyncio
import json
import random
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

_REGION = "us-east-1"
_MOST_AT_ONCE = 64


class BucketAccess(NamedTuple):
    """The address of a bucket, and the keys of its account; without keys everybody may use it."""

    endpoint: str
    bucket: str
    access_key: str = ""
    secret_key: str = ""

    def client_settings(self) -> dict[str, Any]:
        """Return the settings for both kinds of botocore: the defaults, with a connection for each request in progress."""
        config = import_module("botocore.config").Config(max_pool_connections=_MOST_AT_ONCE)
        return {"service_name": "s3", "endpoint_url": self.endpoint, "config": config}

    def session_settings(self) -> dict[str, str]:
        """Return the session's settings for both kinds of botocore."""
        return {
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "region_name": _REGION,
        }


class Client(ABC):
    """A client that creates new objects and reads them completely."""

    @abstractmethod
    def put_all(self, keys: Sequence[str], data: bytes, at_once: int) -> None:
        """Create an object of ``data`` at each key."""

    @abstractmethod
    def get_all(self, keys: Sequence[str], size: int, at_once: int) -> None:
        """Read the object at each key; each has ``size`` bytes."""

    def close(self) -> None:  # noqa: B027 - most close their connections when the process ends
        """Close connections."""


class OnLoop(Client):
    """An asyncio client."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    @abstractmethod
    async def put(self, key: str, data: bytes) -> None:
        """Create one object."""

    @abstractmethod
    async def get(self, key: str) -> bytes:
        """Read one object."""

    def put_all(self, keys: Sequence[str], data: bytes, at_once: int) -> None:
        """See :meth:`Client.put_all`."""
        self.loop.run_until_complete(_each(keys, at_once, lambda key: self.put(key, data)))

    def get_all(self, keys: Sequence[str], size: int, at_once: int) -> None:
        """See :meth:`Client.get_all`."""

        async def get(key: str) -> None:
            _check(await self.get(key), size)

        self.loop.run_until_complete(_each(keys, at_once, get))


class Coatcheck(OnLoop):
    """One of our stores."""

    def __init__(self, store: Any) -> None:
        super().__init__()
        self._store = store

    @classmethod
    def of_s3(cls, server: BucketAccess) -> "Coatcheck":
        """Create an S3Store."""
        session = import_module("boto3").Session(**server.session_settings())
        store = import_module("coatcheck.stores.s3").S3Store
        return cls(store(server.bucket, session=session, endpoint_url=server.endpoint, timeout=60))

    @classmethod
    def of_gcs(cls, server: BucketAccess) -> "Coatcheck":
        """Create a GCSStore."""
        store = import_module("coatcheck.stores.gcs").GCSStore
        return cls(store(server.bucket, endpoint_url=server.endpoint, timeout=60))

    def close(self) -> None:
        """See :meth:`Client.close`."""
        self.loop.run_until_complete(self._store.close())

    async def put(self, key: str, data: bytes) -> None:
        """See :meth:`OnLoop.put`."""
        if not await self._store.create(key, data):
            raise AssertionError(key)

    async def get(self, key: str) -> bytes:
        """See :meth:`OnLoop.get`."""
        data: bytes = await self._store.get(key)
        return data


class Aioboto3(OnLoop):
    """boto3's asyncio port."""

    def __init__(self, server: BucketAccess) -> None:
        super().__init__()
        session = import_module("aioboto3").Session(**server.session_settings())
        self._stack = AsyncExitStack()
        opening = self._stack.enter_async_context(session.client(**server.client_settings()))
        self._client = self.loop.run_until_complete(opening)
        self._bucket = server.bucket

    def close(self) -> None:
        """See :meth:`Client.close`."""
        self.loop.run_until_complete(self._stack.aclose())

    async def put(self, key: str, data: bytes) -> None:
        """See :meth:`OnLoop.put`."""
        await self._client.put_object(Bucket=self._bucket, Key=key, Body=data, IfNoneMatch="*")

    async def get(self, key: str) -> bytes:
        """See :meth:`OnLoop.get`."""
        answer = await self._client.get_object(Bucket=self._bucket, Key=key)
        async with answer["Body"] as body:
            data: bytes = await body.read()
        return data


class GcloudAioStorage(OnLoop):
    """A third-party asyncio client of Google Cloud Storage."""

    def __init__(self, server: BucketAccess) -> None:
        super().__init__()
        self._aiohttp = import_module("aiohttp")
        self._storage = import_module("gcloud.aio.storage").Storage
        self._bucket = server.bucket
        self._endpoint = server.endpoint
        self.loop.run_until_complete(self._open())

    async def _open(self) -> None:
        connector = self._aiohttp.TCPConnector(limit=_MOST_AT_ONCE)
        self._session = self._aiohttp.ClientSession(connector=connector)
        self._client = self._storage(session=self._session, api_root=self._endpoint)

    def close(self) -> None:
        """See :meth:`Client.close`."""
        self.loop.run_until_complete(self._session.close())

    async def put(self, key: str, data: bytes) -> None:
        """See :meth:`OnLoop.put`. Without a checksum."""
        about = {"parameters": {"ifGenerationMatch": "0"}, "force_resumable_upload": False}
        await self._client.upload(self._bucket, key, data, timeout=60, **about)

    async def get(self, key: str) -> bytes:
        """See :meth:`OnLoop.get`."""
        data: bytes = await self._client.download(self._bucket, key, timeout=60)
        return data


class InThreads(Client):
    """A blocking client, shared by all threads."""

    def __init__(self) -> None:
        self._pools: dict[int, ThreadPoolExecutor] = {}

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Create one object."""

    @abstractmethod
    def get(self, key: str) -> bytes:
        """Read one object."""

    def put_all(self, keys: Sequence[str], data: bytes, at_once: int) -> None:
        """See :meth:`Client.put_all`."""
        self._each(keys, at_once, partial(self.put, data=data))

    def get_all(self, keys: Sequence[str], size: int, at_once: int) -> None:
        """See :meth:`Client.get_all`."""
        self._each(keys, at_once, lambda key: _check(self.get(key), size))

    def _each(self, keys: Sequence[str], at_once: int, work: Callable[[str], None]) -> None:
        if at_once not in self._pools:
            self._pools[at_once] = ThreadPoolExecutor(at_once)
        for _ in self._pools[at_once].map(work, keys):
            pass


class Boto3(InThreads):
    """boto3."""

    def __init__(self, server: BucketAccess) -> None:
        super().__init__()
        session = import_module("boto3").Session(**server.session_settings())
        self._client = session.client(**server.client_settings())
        self._bucket = server.bucket

    def put(self, key: str, data: bytes) -> None:
        """See :meth:`InThreads.put`."""
        self._client.put_object(Bucket=self._bucket, Key=key, Body=data, IfNoneMatch="*")

    def get(self, key: str) -> bytes:
        """See :meth:`InThreads.get`."""
        data: bytes = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        return data


class GoogleCloudStorage(InThreads):
    """Google's own client, with the checksums that it has by itself."""

    def __init__(self, server: BucketAccess) -> None:
        super().__init__()
        anonymous = import_module("google.auth.credentials").AnonymousCredentials()
        session = import_module("google.auth.transport.requests").AuthorizedSession(anonymous)
        adapter = import_module("requests.adapters").HTTPAdapter(pool_maxsize=_MOST_AT_ONCE)
        session.mount(server.endpoint, adapter)
        client = import_module("google.cloud.storage").Client(
            "benchmark", anonymous, _http=session, client_options={"api_endpoint": server.endpoint}
        )
        self._bucket = client.bucket(server.bucket)

    def put(self, key: str, data: bytes) -> None:
        """See :meth:`InThreads.put`."""
        self._bucket.blob(key).upload_from_string(data, if_generation_match=0, retry=None)

    def get(self, key: str) -> bytes:
        """See :meth:`InThreads.get`."""
        data: bytes = self._bucket.blob(key).download_as_bytes(raw_download=True, retry=None)
        return data


CLIENTS: dict[str, dict[str, Callable[[BucketAccess], Client]]] = {
    "S3": {"coatcheck": Coatcheck.of_s3, "boto3": Boto3, "aioboto3": Aioboto3},
    "GCS": {
        "coatcheck": Coatcheck.of_gcs,
        "google-cloud-storage": GoogleCloudStorage,
        "gcloud-aio-storage": GcloudAioStorage,
    },
}


async def _each(keys: Sequence[str], at_once: int, work: Callable[[str], Awaitable[None]]) -> None:
    left = iter(keys)

    async def work_on() -> None:
        for key in left:
            await work(key)

    await asyncio.gather(*(work_on() for _ in range(at_once)))


def _check(data: bytes, size: int) -> None:
    if len(data) != size:
        raise AssertionError(f"{len(data)} bytes instead of {size}")


def main(service: str, case: str, *server: str) -> None:
    """Do tasks until standard input ends."""
    client = CLIENTS[service][case](BucketAccess(*server))
    for line in sys.stdin:
        task = json.loads(line)
        data = random.randbytes(task["size"])
        started, used = time.perf_counter(), time.process_time()
        if task["do"] == "put":
            client.put_all(task["keys"], data, task["at_once"])
        else:
            client.get_all(task["keys"], task["size"], task["at_once"])
        took = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - used}
        print(json.dumps(took), flush=True)
    client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
