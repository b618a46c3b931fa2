"""Work off the event loop."""

import asyncio
import os
import threading

import pytest

from coatcheck.runtime.concurrency import off_loop


async def test_large_work_leaves_the_loop_and_small_work_stays() -> None:
    here = threading.current_thread()
    assert await off_loop(10, 100, threading.current_thread) is here
    assert await off_loop(1000, 100, threading.current_thread) is not here


async def test_there_are_no_more_threads_than_cores() -> None:
    names = await asyncio.gather(
        *(off_loop(1000, 100, lambda: threading.current_thread().name) for _ in range(50))
    )
    assert len(set(names)) <= (os.cpu_count() or 1)


async def test_an_error_arrives_as_it_is() -> None:
    def fail() -> None:
        raise KeyError("as it is")

    with pytest.raises(KeyError, match="as it is"):
        await off_loop(1000, 100, fail)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_waited_for_threads_that_it_did_not_have() -> None:
    """As under servers that load the application before they fork."""

    def use() -> int:
        return asyncio.run(off_loop(1000, 100, lambda: 42))

    assert use() == 42
    child = os.fork()
    if not child:
        os._exit(0 if use() == 42 else 1)
    waiting = threading.Timer(30, os.kill, (child, 9))
    waiting.start()
    _, status = os.waitpid(child, 0)
    waiting.cancel()
    assert os.waitstatus_to_exitcode(status) == 0
