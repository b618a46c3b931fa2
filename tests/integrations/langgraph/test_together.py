"""Threads, event loops and processes that use one saver or one database at once."""

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from langgraph.checkpoint.memory import InMemorySaver

from coatcheck import FileStore, MemoryStore
from coatcheck.integrations.langgraph import ClaimCheckSaver
from tests.integrations.langgraph.graphs import loop, said
from tests.integrations.langgraph.savers import chain_on, whole_sqlite
from tests.integrations.langgraph.test_graphs import config
from tests.patience import run_for_at_most

LONG = 300.0
ROOT = Path(__file__).parents[3]


def talk(app: Any, thread: str, turns: int = 3) -> Any:
    done: Any = None
    for n in range(turns):
        done = app.invoke({"messages": [said((thread, n))]}, config(thread))
    return done


def test_threads_and_loops_use_the_synchronous_and_the_asynchronous_methods_of_one_saver(
    tmp_path: Path,
) -> None:
    saver = ClaimCheckSaver(whole_sqlite(), chain_on(FileStore(tmp_path), over=0))
    app, plain = loop().compile(checkpointer=saver), loop().compile(checkpointer=InMemorySaver())
    begin = threading.Barrier(6)

    def waiting(thread: str) -> Any:
        begin.wait(LONG)
        return talk(app, thread)

    def awaiting(thread: str) -> Any:
        async def work() -> Any:
            done: Any = None
            for n in range(3):
                done = await app.ainvoke({"messages": [said((thread, n))]}, config(thread))
            return done

        begin.wait(LONG)
        return asyncio.run(work())

    with ThreadPoolExecutor(6) as pool:
        names = [f"t{n}" for n in range(6)]
        jobs = [pool.submit(waiting if n % 2 else awaiting, name) for n, name in enumerate(names)]
        assert [job.result(LONG) for job in jobs] == [talk(plain, name) for name in names]


def test_the_synchronous_methods_work_inside_of_a_running_event_loop(tmp_path: Path) -> None:
    saver = ClaimCheckSaver(whole_sqlite(), chain_on(FileStore(tmp_path), over=0))
    app = loop().compile(checkpointer=saver)

    async def work() -> Any:
        awaited = asyncio.create_task(app.ainvoke({"messages": [said("a")]}, config("a")))
        await asyncio.sleep(0)
        waited = talk(app, "b", 2)
        saver.delete_thread("b")
        return await awaited, waited, list(saver.list(config("b")))

    awaited, waited, left = run_for_at_most(LONG, work)
    assert (awaited["turn"], waited["turn"], left) == (1, 2, [])


async def test_a_synchronous_graph_serves_in_the_thread_pool_of_fastapi() -> None:
    app = loop().compile(checkpointer=ClaimCheckSaver(whole_sqlite(), chain_on(MemoryStore(), over=0)))
    web = FastAPI()

    @web.post("/{thread}")
    def ask(thread: str) -> int:
        return int(talk(app, thread, 1)["turn"])

    transport = httpx.ASGITransport(web)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=LONG) as http:
        for turn in (1, 2):
            answers = await asyncio.gather(*(http.post(f"/t{n}") for n in range(12)))
            assert [answer.json() for answer in answers] == [turn] * 12


def test_two_processes_take_turns_in_one_thread_and_write_to_others_at_once(tmp_path: Path) -> None:
    def start(own: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "tests.integrations.langgraph.process", str(tmp_path), own]
        return subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    with start("left") as left, start("right") as right:
        both = (left, right)
        for turn in range(6):
            said_by = both[turn % 2]
            assert said_by.stdin is not None
            assert said_by.stdout is not None
            said_by.stdin.write("shared\n")
            assert said_by.stdout.readline().split() == ["shared", str(turn + 1)]
        for process in both:
            assert process.stdin is not None
            process.stdin.write("own\n" * 4)
        for process in both:
            assert process.stdout is not None
            assert [process.stdout.readline().split()[1] for _ in range(4)] == ["1", "2", "3", "4"]
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(LONG) == 0
