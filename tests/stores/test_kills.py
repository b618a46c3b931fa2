"""Processes that are killed while they write: what they were told is durable is there, and nothing is in part.

``COATCHECK_SOAK_KILLS=1000 pytest -n 0 --log-cli-level=INFO tests/stores/test_kills.py`` for a long run.
"""

import asyncio
import json
import logging
import os
import sys
import time
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.engines.gcs import GCSServer
from tests.engines.postgres import PostgresServer
from tests.stores.s3_fixtures import Bucket
from tests.stores.writers import key, payload, store_of

KILLS = int(os.environ.get("COATCHECK_SOAK_KILLS", "20"))

_log = logging.getLogger(__name__)


@pytest.fixture(params=["file", "s3", "gcs", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """A store as the writers' command line names it."""
    match request.param:
        case "file":
            return ["file", str(tmp_path)]
        case "gcs":
            fake: GCSServer = request.getfixturevalue("gcs_server")
            name = f"killed-{uuid4().hex}"
            httpx.post(f"{fake.endpoint}/storage/v1/b", json={"name": name}).raise_for_status()
            return ["gcs", fake.endpoint, name]
        case "postgres":
            database: PostgresServer = request.getfixturevalue("postgres_server")
            return ["postgres", database.dsn(), f"killed_{uuid4().hex}"]
    bucket: Bucket = request.getfixturevalue("bucket")
    server = bucket.server
    return ["s3", server.endpoint, bucket.name, f"killed-{uuid4().hex}", server.access_key, server.secret_key]


async def test_nothing_acknowledged_is_lost_and_nothing_is_in_part(where: list[str]) -> None:
    started = time.monotonic()
    acknowledged = await _killed_writers(where)
    wall = time.monotonic() - started

    store = store_of(*where)
    keys = {entry.key async for entry in store.list_objects("killed/")}
    for name in keys:
        _, writer, number = name.split("/")
        version = _version_of(await store.get(name), int(writer), int(number))
        # A replace that was not acknowledged may have been done.
        assert version >= acknowledged.get(name, 0), name
    _log.info("%d kills in %.1f s: %d acknowledged, %d objects", KILLS, wall, len(acknowledged), len(keys))
    assert acknowledged.keys() <= keys
    assert len(acknowledged) > KILLS


def _version_of(data: bytes, writer: int, number: int) -> int:
    """-1 for what no writer wrote. Not left to an assertion: it would print megabytes."""
    return next((version for version in (1, 0) if data == payload(writer, number, version)), -1)


async def _killed_writers(where: list[str]) -> dict[str, int]:
    """The last version of each object that a writer was told is durable, when all writers are dead."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.stores.writers", str(KILLS), "7", *where),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60 + 2 * KILLS):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["writer"] for line in lines] == list(range(KILLS))
    return {
        key(line["writer"], number): version for line in lines for number, version in line["acknowledged"]
    }
