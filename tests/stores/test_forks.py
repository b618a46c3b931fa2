"""Every store in a forked child of a process that has used it: with os.fork, multiprocessing and gunicorn --preload."""

import asyncio
import multiprocessing
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from coatcheck import Chain, Encrypt, GCSStore, Keyring, Offload, PayloadCache, PostgresStore, Scope, Zstd
from coatcheck.contracts.store import Store
from coatcheck.errors import PayloadNotFound
from coatcheck.settings.registry import open_store
from tests.chains import KEY
from tests.engines.gcs import GCSServer
from tests.engines.postgres import PostgresServer
from tests.engines.process import free_port, running
from tests.runtime.test_forks import in_child
from tests.stores.s3_fixtures import REGION, Bucket
from tests.stores.test_fault_matrix import gcs, postgres

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(params=["s3", "gcs", "file", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store of each kind, its own and empty."""
    match request.param:
        case "s3":
            bucket: Bucket = request.getfixturevalue("bucket")
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket.server.access_key)
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket.server.secret_key)
            return f"s3://{bucket.name}/{tmp_path.name}?endpoint_url={bucket.server.endpoint}&region={REGION}"
        case "gcs":
            server: GCSServer = request.getfixturevalue("gcs_server")
            found = gcs(server).direct()
            assert isinstance(found, GCSStore)
            return f"gs://{found.bucket}?endpoint_url={server.endpoint}"
        case "file":
            return f"file://{tmp_path}/objects"
        case _:
            database: PostgresServer = request.getfixturevalue("postgres_server")
            made = asyncio.run(postgres(database)).direct()
            assert isinstance(made, PostgresStore)
            return f"{database.dsn()}?table={made.table}"


async def _all_operations(store: Store, name: str) -> bool:
    assert await store.create(f"{name}/a", b"1") is True
    assert await store.create(f"{name}/a", b"2") is False
    await store.replace(f"{name}/b", bytes(300_000))
    assert await store.get(f"{name}/a") == b"1"
    assert [found.key for found in await store.list_first(f"{name}/", 1)] == [f"{name}/a"]
    assert sorted([found.key async for found in store.list_objects(f"{name}/")]) == [f"{name}/a", f"{name}/b"]
    await store.delete_versions(f"{name}/")
    await store.delete(f"{name}/a")
    try:
        await store.get(f"{name}/a")
    except PayloadNotFound:
        return True
    return False


@contextmanager
def _loop_in_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """As of a server that goes on while another thread forks."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def test_store_was_dead_in_a_forked_child(url: str) -> None:
    """Used on a loop that has ended, and on one that goes on, before the fork; in the child it is the same object."""
    store = open_store(url)
    assert asyncio.run(_all_operations(store, "before"))
    with _loop_in_a_thread() as loop:
        there = asyncio.run_coroutine_threadsafe(_all_operations(store, "beside"), loop)
        assert there.result(60)
        started = time.monotonic()
        for number in range(2):
            assert in_child(lambda: asyncio.run(_all_operations(store, f"child-{number}")))  # noqa: B023 - done at once
            assert in_child(lambda: asyncio.run(_all_operations(open_store(url), f"new-{number}")))  # noqa: B023
        assert time.monotonic() - started < 30
        # What the child inherited and dropped is still the parent's.
        again = asyncio.run_coroutine_threadsafe(_all_operations(store, "after"), loop)
        assert again.result(60)
        asyncio.run_coroutine_threadsafe(store.close(), loop).result(60)
    assert asyncio.run(_all_operations(store, "last"))


def test_fork_in_the_middle_of_many_calls(url: str) -> None:
    """Locks are held, requests are under way: none of them is the child's."""
    store = open_store(url)

    async def busily() -> None:
        names = iter(range(1_000_000))
        while not done.is_set():
            await asyncio.gather(*(store.replace(f"busy/{next(names) % 32}", bytes(3_000)) for _ in range(8)))

    done = threading.Event()
    with _loop_in_a_thread() as loop:
        work = asyncio.run_coroutine_threadsafe(busily(), loop)
        for number in range(5):
            assert in_child(lambda: asyncio.run(_all_operations(store, f"child-{number}")))  # noqa: B023 - done at once
        done.set()
        work.result(60)
        asyncio.run_coroutine_threadsafe(store.close(), loop).result(60)


_SCOPE = Scope("tenant", "run")
_PAYLOADS = [f"payload {number} ".encode() * 3_000 for number in range(4)]


def _chain(url: str) -> Chain:
    offload = Offload(open_store(url), over=256)
    return Chain(Zstd(), Encrypt(Keyring(KEY)), offload, cache=PayloadCache(0))


_inherited: list[Chain] = []


def _in_pool(number: int) -> bytes:
    [chain] = _inherited

    async def work() -> bytes:
        journal = await chain.encode(_PAYLOADS[number], _SCOPE)
        return await chain.decode(journal, _SCOPE)

    return asyncio.run(work())


def test_chain_in_a_pool_of_forked_processes(url: str) -> None:
    chain = _chain(url)

    async def work() -> None:
        await chain.encode(_PAYLOADS[0], _SCOPE)

    asyncio.run(work())
    _inherited[:] = [chain]
    try:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
            assert list(pool.map(_in_pool, range(4), timeout=60)) == _PAYLOADS
    finally:
        _inherited.clear()
    asyncio.run(chain.close())


def test_gunicorn_that_preloads(url: str, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "gunicorn.log"
    command = [
        *(sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--bind", f"127.0.0.1:{port}"),
        *("--timeout", "90", "--worker-tmp-dir", str(tmp_path), "tests.stores.fork_app:application"),
    ]

    def up() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    environment = {**os.environ, "FORK_STORE": url, "PYTHONPATH": str(Path(__file__).parents[2])}
    with running(command, log, up=up, environment=environment):
        try:
            answers = [httpx.get(f"http://127.0.0.1:{port}/", timeout=60) for _ in range(6)]
        except httpx.TransportError as error:
            error.add_note(log.read_text())
            raise
    assert {answer.status_code for answer in answers} == {200}, log.read_text()
    assert all(answer.text.startswith("parent worker-") for answer in answers)
