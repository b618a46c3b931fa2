"""``with_gcs.py ENDPOINT BUCKET``: payloads in a bucket."""

import asyncio
import sys

from chains import check_round_trip

from coatcheck import GCSStore


async def main(endpoint: str, bucket: str) -> None:
    await check_round_trip(GCSStore(bucket, "extras", endpoint_url=endpoint))


asyncio.run(main(*sys.argv[1:]))
