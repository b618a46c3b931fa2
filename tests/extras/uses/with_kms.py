"""``with_kms.py ENDPOINT ARN``: a tenant's keys, wrapped by the KMS."""

import asyncio
import sys

import boto3
from chains import PAYLOAD, SCOPE

from coatcheck import AwsKms, Chain, Encrypt, MemoryStore, Offload, TenantKeys


async def main(endpoint: str, arn: str) -> None:
    store = MemoryStore()
    session = boto3.Session("any", "any")

    def chain() -> Chain:
        keys = TenantKeys(store, AwsKms(arn, session=session, endpoint_url=endpoint), label="test")
        return Chain(Encrypt(keys), Offload(store))

    journal = await chain().encode(PAYLOAD, SCOPE)
    assert await chain().decode(journal, SCOPE) == PAYLOAD


asyncio.run(main(*sys.argv[1:]))
