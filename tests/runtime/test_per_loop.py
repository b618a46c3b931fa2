"""A resource is closed by whoever comes first: its owner, its loop, or the garbage collector."""

import asyncio
import gc
import warnings
from collections.abc import AsyncGenerator

import pytest

from coatcheck.runtime.per_loop import PerLoop
from tests.runtime.test_forks import in_child


class _Session:
    """Warns where it is finalised before it was closed, as aiohttp's does."""

    def __init__(self) -> None:
        self.closed = False

    def __del__(self) -> None:
        if not self.closed:
            warnings.warn("unclosed session", ResourceWarning, stacklevel=1)


_closed: list[int] = []


async def _open() -> AsyncGenerator[_Session, None]:
    session = _Session()
    try:
        yield session
    finally:
        await asyncio.sleep(0)
        session.closed = True
        _closed.append(id(session))


class _Owner:
    """In a cycle with itself, as whatever stands in the traceback of an exception that it keeps."""

    def __init__(self) -> None:
        self.resources = PerLoop(_open)
        self.itself = self


@pytest.fixture(autouse=True)
def nothing_closed() -> None:
    _closed.clear()


async def _until(count: int) -> None:
    for _ in range(1000):  # turns of the loop
        if len(_closed) == count:
            return
        await asyncio.sleep(0)
    pytest.fail(f"{len(_closed)} of {count} were closed")


async def test_session_of_an_owner_in_a_cycle_was_finalised_before_it_was_closed() -> None:
    gc.collect()
    for _ in range(20):
        await _Owner().resources.get()
    gc.collect()
    await _until(20)


async def test_dropped_owner_closes_at_once() -> None:
    resources = PerLoop(_open)
    await resources.get()
    del resources
    await _until(1)


async def test_close_closes_once() -> None:
    resources = PerLoop(_open)
    first = await resources.get()
    assert await resources.get() is first
    await resources.close()
    assert first.closed
    assert await resources.get() is not first
    await resources.close()
    assert len(_closed) == 2


def test_end_of_the_loop_closes() -> None:
    resources = PerLoop(_open)
    first = asyncio.run(resources.get())
    assert first.closed
    assert asyncio.run(resources.get()) is not first
    assert len(_closed) == 2


def test_forked_child_closes_nothing_of_its_parent() -> None:
    resources = PerLoop(_open)

    async def use() -> None:
        first = await resources.get()

        def child() -> bool:
            fresh = PerLoop(_open)
            asyncio.run(fresh.get())
            gc.collect()
            return len(_closed) == 1 and not first.closed and asyncio.run(resources.get()) is not first

        assert in_child(child)
        assert not _closed
        assert await resources.get() is first
        await resources.close()

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        asyncio.run(use())
    assert len(_closed) == 1
