"""Starts processes that write to a store, and kills them: ``python -m tests.stores.writers KILLS SEED STORE ...``.

Prints one line of JSON for each that was killed: what it had been told is durable. This process imports everything
once and forks the writers, so that a kill costs no start of an interpreter; it has no threads and no event loop.
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
import traceback
from typing import NoReturn

import boto3

from coatcheck.contracts.store import Store
from coatcheck.stores.file import FileStore
from coatcheck.stores.gcs import GCSStore
from coatcheck.stores.postgres import PostgresStore
from coatcheck.stores.s3 import S3Store
from tests.stores.s3_fixtures import REGION

_MOST = 200
"""Objects that a writer makes if nobody kills it."""
_LONGEST_WAIT = 0.02
"""Seconds after an acknowledgement: enough to be anywhere in the next write."""


def payload(writer: int, number: int, version: int) -> bytes:
    """What a writer writes to ``key(writer, number)``: version 0 to create it, version 1 to replace that."""
    mark = f"{writer}/{number}/{version};".encode()
    size = (1_000, 10_000, 100_000, 1_000_000)[number % 4]
    return (mark * (size // len(mark) + 1))[:size]


def key(writer: int, number: int) -> str:
    """Where it writes that."""
    return f"killed/{writer}/{number}"


def store_of(kind: str, *where: str) -> Store:
    """A store: ``file FOLDER``, ``gcs ENDPOINT BUCKET``, ``postgres DSN TABLE`` or, for S3, what else it needs."""
    match kind:
        case "file":
            return FileStore(*where)
        case "gcs":
            endpoint, bucket = where
            return GCSStore(bucket, endpoint_url=endpoint)
        case "postgres":
            dsn, table = where
            return PostgresStore(dsn, table=table)
    endpoint, bucket, prefix, access_key, secret_key = where
    session = boto3.Session(access_key, secret_key, region_name=REGION)
    # The first client reads botocore's data files; the session keeps what they say for all writers.
    session.client("s3", endpoint_url=endpoint)
    return S3Store(bucket, prefix, session=session, endpoint_url=endpoint, timeout=60)


def main(kills: int, seed: int, store: Store) -> None:
    """Fork, wait, kill, tell; ``kills`` times."""
    draw = random.Random(seed)
    for writer in range(kills):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _write_until_killed(writer, store, writing)
        os.close(writing)
        said = _kill(pid, reading, draw.randrange(12), draw.uniform(0, _LONGEST_WAIT))
        sys.stdout.write(json.dumps({"writer": writer, "acknowledged": said}) + "\n")
        sys.stdout.flush()


def _write_until_killed(writer: int, store: Store, telling: int) -> NoReturn:
    async def write() -> None:
        for number in range(_MOST):
            assert await store.create(key(writer, number), payload(writer, number, 0))
            os.write(telling, f"{number} 0\n".encode())
            if number % 2:
                await store.replace(key(writer, number), payload(writer, number, 1))
                os.write(telling, f"{number} 1\n".encode())

    try:
        asyncio.run(write())
    except BaseException:  # noqa: BLE001 - nothing of this process may go on above
        traceback.print_exc()
    os._exit(1)


def _kill(pid: int, reading: int, after: int, wait: float) -> list[list[int]]:
    """Kill a writer ``wait`` seconds after its acknowledgement number ``after``; all that it acknowledged."""
    with os.fdopen(reading, "rb") as told:
        lines = [told.readline() for _ in range(after)]
        time.sleep(wait)
        os.kill(pid, signal.SIGKILL)
        lines += told.readlines()
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, "the writer ended by itself"
    return [[int(word) for word in line.split()] for line in lines if line.endswith(b"\n")]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), store_of(*sys.argv[3:]))
