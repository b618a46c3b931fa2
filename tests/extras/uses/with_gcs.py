"""``with_gcs.py ENDPOINT BUCKET``: payloads in a bucket, and how it is set up."""

import asyncio
import sys

from chains import check_round_trip

from coatcheck import GCSStore
from coatcheck.stores.admin import gcs


async def main(endpoint: str, bucket: str) -> None:
    await check_round_trip(GCSStore(bucket, "extras", endpoint_url=endpoint))
    facts = await gcs.look(f"gs://{bucket}/extras?endpoint_url={endpoint}")
    assert all(fact.fine for fact in facts), facts


asyncio.run(main(*sys.argv[1:]))
