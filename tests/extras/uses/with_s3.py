"""``with_s3.py ENDPOINT BUCKET ACCESS_KEY SECRET_KEY``: payloads in a bucket."""

import asyncio
import sys

import boto3
from chains import check_round_trip

from coatcheck import S3Store


async def main(endpoint: str, bucket: str, access_key: str, secret_key: str) -> None:
    session = boto3.Session(access_key, secret_key, region_name="us-east-1")
    await check_round_trip(S3Store(bucket, "extras", session=session, endpoint_url=endpoint))


asyncio.run(main(*sys.argv[1:]))
