"""Other tools that write into histories: the SDK's own drivers, and DataDog's codec with its service."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from typing import Any

import aiohttp
from aiohttp import web
from botocore.exceptions import ClientError
from google.api_core.exceptions import PreconditionFailed
from temporalio.api.common.v1 import Payload
from temporalio.contrib.aws.s3driver import S3StorageDriverClient
from temporalio.contrib.gcp.gcsdriver import GCSStorageDriverClient
from temporalio.converter import PayloadCodec

from tests.stores.s3_fixtures import Bucket


class S3Writer(S3StorageDriverClient):
    """What the SDK's S3 driver writes with: boto3, since aioboto3 wants an older one."""

    def __init__(self, bucket: Bucket) -> None:
        self._client = bucket.client

    async def object_exists(self, *, bucket: str, key: str) -> bool:
        try:
            await asyncio.to_thread(self._client.head_object, Bucket=bucket, Key=key)
        except ClientError:
            return False
        return True

    async def put_object(self, *, bucket: str, key: str, data: bytes) -> None:
        await asyncio.to_thread(self._client.put_object, Bucket=bucket, Key=key, Body=data)

    async def get_object(self, *, bucket: str, key: str) -> bytes:
        raise AssertionError("read with coatcheck")


class GCSWriter(GCSStorageDriverClient):
    """What the SDK's GCS driver writes with: Google's own client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def object_exists(self, *, bucket: str, object_name: str) -> bool:
        found: bool = await asyncio.to_thread(
            self._client.bucket(bucket).blob(object_name).exists, retry=None
        )
        return found

    async def put_object(self, *, bucket: str, object_name: str, data: bytes) -> None:
        blob = self._client.bucket(bucket).blob(object_name)
        with suppress(PreconditionFailed):
            await asyncio.to_thread(blob.upload_from_string, data, if_generation_match=0, retry=None)

    async def get_object(self, *, bucket: str, object_name: str) -> bytes:
        raise AssertionError("read with coatcheck")


class LargePayloadService:
    """The interface that the README of ``github.com/DataDog/temporal-large-payload-codec`` documents, in memory.

    The real service is a Go program that no registry gives out as one.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.url = ""

    async def put(self, request: web.Request) -> web.Response:
        metadata = json.loads(base64.b64decode(request.headers["X-Temporal-Metadata"]))
        values = {name: base64.b64decode(value) for name, value in metadata.items()}
        own = sha256(b"".join(name.encode() + values[name] for name in sorted(values))).hexdigest()
        prefix = values.get("remote-codec/key-prefix", b"").decode()
        place = f"custom/{prefix}" if prefix else "common"
        key = f"/blobs/{request.query['namespace']}/{place}/{request.query['digest']}/sha256:{own}"
        self.blobs[key] = await request.read()
        return web.json_response({"Key": key}, status=201)

    async def get(self, request: web.Request) -> web.Response:
        self.asked.append(request.query["key"])
        if request.headers.get("Authorization") != "Bearer right":
            return web.Response(status=403)
        if request.headers.get("Content-Type") != "application/octet-stream":
            return web.Response(status=400)
        if not request.headers.get("X-Payload-Expected-Content-Length", "").isdecimal():
            return web.Response(status=400)
        found = self.blobs.get(request.query["key"])
        return web.Response(status=404) if found is None else web.Response(body=found)


@asynccontextmanager
async def large_payload_service() -> AsyncIterator[LargePayloadService]:
    """The service on a free port of loopback."""
    service = LargePayloadService()
    app = web.Application(client_max_size=2**30)
    app.add_routes([web.put("/v2/blobs/put", service.put), web.get("/v2/blobs/get", service.get)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    service.url = f"http://{host}:{port}"
    try:
        yield service
    finally:
        await runner.cleanup()


class DataDogWriter(PayloadCodec):
    """DataDog's codec as far as it writes: each payload above 128 bytes goes to the service."""

    def __init__(self, url: str, namespace: str) -> None:
        self._url = url
        self._namespace = namespace

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [await self._encode(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise AssertionError("read with coatcheck")

    async def _encode(self, payload: Payload) -> Payload:
        if payload.ByteSize() <= 128:
            return payload
        metadata = {name: base64.b64encode(value).decode() for name, value in payload.metadata.items()}
        digest = f"sha256:{sha256(payload.data).hexdigest()}"
        headers = {
            "Content-Type": "application/octet-stream",
            "X-Temporal-Metadata": base64.b64encode(json.dumps(metadata).encode()).decode(),
        }
        async with (
            aiohttp.ClientSession() as session,
            session.put(
                f"{self._url}/v2/blobs/put",
                params={"namespace": self._namespace, "digest": digest},
                headers=headers,
                data=payload.data,
                raise_for_status=True,
            ) as answer,
        ):
            key = (await answer.json(content_type=None))["Key"]
        reference = {"metadata": metadata, "size": len(payload.data), "digest": digest, "key": key}
        return Payload(
            metadata={"encoding": b"json/plain", "temporal.io/remote-codec": b"v2"},
            data=json.dumps(reference, separators=(",", ":")).encode(),
        )
