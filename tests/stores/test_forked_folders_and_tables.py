"""Stores of folders and tables that were used before a fork: they work in the child, and go on in the parent."""

import asyncio
import concurrent.futures
import multiprocessing
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from coatcheck.contracts.store import Store
from coatcheck.stores.cached import CachedStore
from coatcheck.stores.fallback import FallbackStore
from coatcheck.stores.file import FileStore
from coatcheck.stores.memory import MemoryStore
from coatcheck.stores.postgres import PostgresStore
from tests.engines.postgres import PostgresServer
from tests.runtime.test_forks import in_child
from tests.stores.cached.parts import KEY, Inner

KINDS = ["file", "cached", "fallback", "postgres", "cached postgres"]
_SECONDS = 30


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    match request.param:
        case "file":
            return FileStore(tmp_path / "payloads")
        case "cached":
            return CachedStore(FileStore(tmp_path / "payloads"), tmp_path / "cache")
        case "fallback":
            return FallbackStore(FileStore(tmp_path / "near"), FileStore(tmp_path / "far"), patience=60)
        case "postgres":
            return PostgresStore(_dsn(request), table=f"forked_{secrets.token_hex(8)}")
        case _:
            inner = PostgresStore(_dsn(request), table=f"forked_{secrets.token_hex(8)}")
            return CachedStore(inner, tmp_path / "cache")


def _dsn(request: pytest.FixtureRequest) -> str:
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.dsn()


async def use(store: Store, name: str) -> bool:
    """Whether all of a store works, many calls at once."""
    keys = [f"{name}/{number}" for number in range(20)]
    async with asyncio.timeout(_SECONDS):
        assert all(await asyncio.gather(*(store.create(key, key.encode()) for key in keys)))
        assert await asyncio.gather(*map(store.get, keys)) == [key.encode() for key in keys]
        await asyncio.gather(*(store.replace(key, b"replaced") for key in keys))
        assert await asyncio.gather(*map(store.get_uncached, keys)) == [b"replaced"] * 20
        assert {entry.key async for entry in store.list_objects(f"{name}/")} == set(keys)
        await asyncio.gather(*map(store.delete, keys[1:]))
        return [entry.key for entry in await store.list_first(f"{name}/", 9)] == keys[:1]


async def use_and_close(store: Store, name: str) -> bool:
    try:
        return await use(store, name)
    finally:
        await store.close()


async def test_child_uses_and_closes_what_the_parent_used(store: Store) -> None:
    """Forked while the parent's loop runs, as gunicorn, multiprocessing and Celery do."""
    assert await use(store, "before")
    for attempt in range(2):
        assert in_child(lambda: asyncio.run(use_and_close(store, f"child-{attempt}")))  # noqa: B023 - called at once
        # On the connections that it had.
        assert await use(store, f"parent-{attempt}")
        assert await store.get(f"child-{attempt}/0") == b"replaced"
    await store.close()


def test_child_is_forked_between_two_loops(store: Store) -> None:
    assert asyncio.run(use(store, "before"))
    assert in_child(lambda: asyncio.run(use_and_close(store, "child")))
    assert in_child(lambda: in_child(lambda: asyncio.run(use_and_close(store, "grandchild"))))
    assert asyncio.run(use_and_close(store, "parent"))


_inherited: list[Store] = []


def _use_inherited(name: str) -> bool:
    return asyncio.run(use(_inherited[0], name))


async def test_pool_of_processes_uses_what_the_parent_uses(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "_inherited", [store])
    assert await use(store, "before")
    forks = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=forks) as pool:
        theirs = [asyncio.wrap_future(pool.submit(_use_inherited, f"worker-{number}")) for number in range(4)]
        ours = [use(store, f"meanwhile-{number}") for number in range(4)]
        async with asyncio.timeout(2 * _SECONDS):
            assert await asyncio.gather(*theirs, *ours) == [True] * 8
    await store.close()


def test_lock_of_the_cache_that_a_thread_held_at_the_fork_was_held_for_ever(tmp_path: Path) -> None:
    store = CachedStore(MemoryStore(), tmp_path)
    assert asyncio.run(use(store, "before"))
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as locks:
            for lock in (store._copies._lock, store._overlaps._lock, store._counting):
                locks.enter_context(lock)
            held.set()
            done.wait(_SECONDS)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(_SECONDS)
    try:
        assert in_child(lambda: asyncio.run(use(store, "child")))
    finally:
        done.set()
        holder.join()


async def test_change_that_was_under_way_at_the_fork_kept_copies_out_for_ever(tmp_path: Path) -> None:
    inner = Inner()
    store = CachedStore(inner, tmp_path)
    await MemoryStore.replace(inner, KEY, b"old")
    inner.waits = True
    replacing = asyncio.ensure_future(store.replace(KEY, b"new"))
    await inner.asked.wait()

    async def use_copy() -> bool:
        inner.waits = False
        assert await store.get(KEY) == await store.get(KEY) == b"new"
        return store.stats.hits == 1

    try:
        assert in_child(lambda: asyncio.run(use_copy()))
    finally:
        inner.goes_on.set()
        await replacing


@pytest.fixture
def admin(postgres_server: PostgresServer) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        yield connection


def backends(admin: psycopg.Connection, name: str) -> set[int]:
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
    return {pid for (pid,) in admin.execute(query, [name]).fetchall()}


async def test_end_of_a_child_ended_the_connections_of_its_parent(
    postgres_server: PostgresServer, admin: psycopg.Connection
) -> None:
    name = f"forked-{secrets.token_hex(8)}"
    store = PostgresStore(f"{postgres_server.dsn()}?application_name={name}", table=name.replace("-", "_"))
    assert await use(store, "before")
    before = backends(admin, name)
    assert before

    async def uses(action: Callable[[], Awaitable[object]]) -> bool:
        await action()
        return True

    for action in (lambda: use(store, "child"), store.close, lambda: asyncio.sleep(0)):
        # Not by os._exit, so that whatever cleans up at the end of a process does.
        process = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(uses(action)))  # noqa: B023 - called at once
        process.start()
        await asyncio.to_thread(process.join, _SECONDS)
        assert process.exitcode == 0
        assert before <= backends(admin, name)
        assert await store.get("before/0") == b"replaced"
    await store.close()


ORPHAN = """
import asyncio, os, sys, time
from coatcheck.stores.postgres import PostgresStore

async def main():
    store = PostgresStore(sys.argv[1], table=sys.argv[2])
    await store.create("a", b"1")
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_connections_of_a_parent_that_was_killed_lived_on_with_its_child(
    postgres_server: PostgresServer, admin: psycopg.Connection
) -> None:
    name = f"orphan-{secrets.token_hex(8)}"
    dsn = f"{postgres_server.dsn()}?application_name={name}"
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, dsn, name.replace("-", "_")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        assert len(backends(admin, name)) == 1
        parent.kill()
        parent.wait(_SECONDS)
        until = time.monotonic() + _SECONDS
        while backends(admin, name):
            assert time.monotonic() < until
    finally:
        parent.kill()
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()
