"""``with_postgres.py URL``: payloads in a table."""

import asyncio
import sys

from chains import check_round_trip

from coatcheck import PostgresStore


async def main(url: str) -> None:
    store = PostgresStore(url, table="of_the_extra")
    await store.init()
    await check_round_trip(store)


asyncio.run(main(sys.argv[1]))
