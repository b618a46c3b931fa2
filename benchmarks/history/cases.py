"""The ways of payloads in Temporal, with the client and the replayer for each."""

import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module

import boto3
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter, ExternalStorage, PayloadCodec
from temporalio.plugin import SimplePlugin

from benchmarks.charting.ways import CODEC, COMPRESS_ONLY, NATIVE, OURS, SDK, SDK_256K
from benchmarks.engines import sdk_storage
from benchmarks.engines.s3 import REGION, Bucket
from coatcheck import Chain, Encrypt, Key, Keyring, Offload, S3Store, Zstd
from coatcheck.integrations.temporal import ClaimCheckPlugin
from coatcheck.offload import DEFAULT_THRESHOLD

THRESHOLDS = {
    SDK: DEFAULT_THRESHOLD,
    SDK_256K: 256 * 1024,
    CODEC: DEFAULT_THRESHOLD,
    NATIVE: DEFAULT_THRESHOLD,
}
"""Bytes above which a payload is offloaded: uncompressed for the SDK, compressed for coatcheck. The SDK gets coatcheck's
default, so that about the same payloads are offloaded; ``sdk-256k`` has the SDK's own."""


class CompressOnly(PayloadCodec):
    """The codec that teams write first, after the SDK's own guide: zlib at its default level, on the event loop."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See :class:`PayloadCodec`."""
        return [
            Payload(metadata={"encoding": b"binary/zlib"}, data=zlib.compress(payload.SerializeToString()))
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See :class:`PayloadCodec`."""
        return [
            Payload.FromString(zlib.decompress(payload.data))
            if payload.metadata.get("encoding") == b"binary/zlib"
            else payload
            for payload in payloads
        ]


@dataclass(frozen=True, slots=True)
class Wiring:
    """Arguments for ``Client.connect`` and ``Replayer``."""

    data_converter: DataConverter = DataConverter.default
    plugins: Sequence[SimplePlugin] = ()


def environment(case: str) -> Mapping[str, str]:
    """Return the environment variables of a process for this case."""
    return sdk_storage.environment() if case in {SDK, SDK_256K} else {}


@asynccontextmanager
async def wired(case: str, bucket: Bucket) -> AsyncIterator[Wiring]:
    """Return the arguments for a client or a replayer of this case, with an empty cache."""
    if case in {SDK, SDK_256K}:
        async with _external_storage(bucket, THRESHOLDS[case]) as storage:
            yield Wiring(data_converter=DataConverter(external_storage=storage))
    elif case in OURS:
        async with _chain(bucket) as chain:
            yield Wiring(plugins=[ClaimCheckPlugin(chain, mode="native" if case == NATIVE else "codec")])
    elif case == COMPRESS_ONLY:
        yield Wiring(data_converter=DataConverter(payload_codec=CompressOnly()))
    else:
        yield Wiring()


def _chain(bucket: Bucket) -> Chain:
    session = boto3.Session(bucket.access_key, bucket.secret_key, region_name=REGION)
    store = S3Store(bucket.name, session=session, endpoint_url=bucket.endpoint)
    return Chain(Zstd(), Encrypt(Keyring(Key(bytes(32)))), Offload(store))


@asynccontextmanager
async def _external_storage(bucket: Bucket, threshold: int) -> AsyncIterator[ExternalStorage]:
    """The SDK's own S3 driver, with its defaults."""
    driver = import_module("temporalio.contrib.aws.s3driver")
    adapter = import_module("temporalio.contrib.aws.s3driver.aioboto3")
    session = import_module("aioboto3").Session(
        aws_access_key_id=bucket.access_key,
        aws_secret_access_key=bucket.secret_key,
        region_name=REGION,
    )
    async with session.client("s3", endpoint_url=bucket.endpoint) as client:
        storage = driver.S3StorageDriver(adapter.new_aioboto3_client(client), bucket.name)
        yield ExternalStorage(drivers=[storage], payload_size_threshold=threshold)
