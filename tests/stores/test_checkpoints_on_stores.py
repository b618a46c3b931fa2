"""Checkpoints on every store that people run: records are replaced and listed there, states are deltas."""

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage  # type: ignore[import-untyped]

from coatcheck import (
    Chain,
    Checkpoints,
    Encrypt,
    Key,
    Keyring,
    Offload,
    PayloadCache,
    PayloadNotFound,
    Store,
    Zstd,
)
from coatcheck.stores.file import FileStore
from coatcheck.stores.gcs import GCSStore
from coatcheck.stores.postgres import PostgresStore
from tests.chains import KEY, OTHER_KEY

NewStore = Callable[[], Store]
"""Makes a store with a client of its own, at the same place each time: as another process would."""


def _gcs(endpoint: str) -> NewStore:
    client: Any = storage.Client(
        project="tests",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": endpoint},
    )
    name = f"bucket-{secrets.token_hex(8)}"
    client.create_bucket(name, retry=None)
    client.close()
    return lambda: GCSStore(name, endpoint_url=endpoint)


@pytest.fixture(params=["file", "s3", "gcs", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> NewStore:
    match request.param:
        case "s3":
            new_store: NewStore = request.getfixturevalue("new_store")
            return new_store
        case "gcs":
            return _gcs(request.getfixturevalue("gcs_server").endpoint)
        case "postgres":
            dsn, table = request.getfixturevalue("postgres_server").dsn(), f"objects_{secrets.token_hex(8)}"
            return lambda: PostgresStore(dsn, table=table)
        case _:
            return lambda: FileStore(tmp_path)


def _chain(store: Store, *keys: Key) -> Chain:
    return Chain(Zstd(), Encrypt(Keyring(*(keys or (KEY,)))), Offload(store), cache=PayloadCache(2**26))


def _states(count: int) -> list[list[str]]:
    messages = [secrets.token_hex(20_000) for _ in range(count)]
    return [messages[: end + 1] for end in range(count)]


async def test_a_run_is_saved_listed_and_brought_back_by_another_process(place: NewStore) -> None:
    states = _states(7)
    async with _chain(place()) as writing:
        saved = Checkpoints(writing, run="run-1")
        references = [await saved.save(state, step=step) for step, state in enumerate(states)]
        await Checkpoints(writing, run="run-10").save("another run", step=99)
        await saved.save("said again", step=3)
    assert sum(bool(reference.bases) for reference in references) >= 5
    async with _chain(place()) as reading:
        found = Checkpoints(reading, run="run-1")
        assert await found.restore() == states[-1]
        assert await found.restore(str(references[3])) == states[3]
        history = await found.history()
        assert [checkpoint.step for checkpoint in history] == list(range(7))
        assert await found.restore(history[3].reference) == "said again"


async def test_a_rotation_hides_nothing(place: NewStore) -> None:
    async with _chain(place()) as before:
        await Checkpoints(before, run="run-1").save("old", step=0)
    async with _chain(place(), OTHER_KEY, KEY) as after:
        checkpoints = Checkpoints(after, run="run-1")
        assert await checkpoints.restore() == "old"
        await checkpoints.save("new", step=1)
        assert [checkpoint.step for checkpoint in await checkpoints.history()] == [0, 1]


async def test_racing_saves_of_one_step_leave_one_of_them_whole(place: NewStore) -> None:
    async with _chain(place()) as chain:
        checkpoints = Checkpoints(chain, run="run-1")
        values = [f"value {number}" for number in range(8)]
        references = await asyncio.gather(*(checkpoints.save(value, step=0) for value in values))
        assert await checkpoints.restore() in values
        assert [await checkpoints.restore(reference) for reference in references] == values
        assert len(await checkpoints.history()) == 1


async def test_a_run_without_checkpoints_says_so(place: NewStore) -> None:
    async with _chain(place()) as chain:
        checkpoints = Checkpoints(chain, run="never")
        assert await checkpoints.latest() is None
        with pytest.raises(PayloadNotFound, match="no checkpoint"):
            await checkpoints.restore()
