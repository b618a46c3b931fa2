"""SIGKILL, of the service in the middle of a handler and of the server: nothing is lost, and nothing is left over."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from signal import SIGKILL

import httpx
import pytest

from coatcheck import FileStore, Scope
from tests.engines.process import free_port, running
from tests.engines.restate import RestateServer, started
from tests.integrations.restate.agent_process import chain_in, conversation
from tests.integrations.restate.hosting import MODES, Protocol, listening, until
from tests.integrations.restate.watching import referred_to

TURNS = 60
KILLED_AT = (7, 23, 41)
SERVER_KILLED_AT = 50


@contextmanager
def service(port: int, folder: Path, mode: Protocol, way: str = "chain") -> Iterator[None]:
    """The service in a process of its own, until the block ends; then it is killed."""
    module = "tests.integrations.restate.agent_process"
    command = [sys.executable, "-m", module, str(port), str(folder), mode, way]
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with running(command, folder / "service.log", up=lambda: True, stop=SIGKILL, environment=path):
        yield


def turns_in(folder: Path) -> list[int]:
    notes = folder / "turns"
    return [int(line) for line in notes.read_text().split()] if notes.exists() else []


def has_taken(folder: Path, turn: int) -> bool:
    return turn in turns_in(folder)


async def start(server: RestateServer, key: str) -> str:
    async with httpx.AsyncClient(base_url=server.ingress) as outside:
        sent = await outside.post(f"/KilledAgent/{key}/live/send", json=TURNS)
        sent.raise_for_status()
        return str(sent.json()["invocationId"])


async def result(server: RestateServer, invocation: str) -> bytes:
    async with httpx.AsyncClient(base_url=server.ingress, timeout=60) as outside:
        answer = await outside.get(f"/restate/invocation/{invocation}/attach")
        answer.raise_for_status()
        return answer.content


async def journal(server: RestateServer, invocation: str) -> bytes:
    rows = await server.query(f"select raw from sys_journal where id = '{invocation}'")  # noqa: S608 - ours
    return b"".join(bytes.fromhex(str(row["raw"])) for row in rows)


async def objects_in(folder: Path) -> list[str]:
    return sorted([entry.key[-64:] async for entry in FileStore(folder / "payloads").list_objects()])


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
async def test_an_agent_of_60_turns_outlives_kills_of_the_service_and_of_the_server(
    tmp_path: Path, mode: Protocol
) -> None:
    port, server = free_port(), RestateServer(free_port(), free_port(), free_port())
    plain, calm, killed = (tmp_path / name for name in ("plain", "calm", "killed"))
    for folder in (plain, calm, killed):
        folder.mkdir()
    expected = f'"{conversation(TURNS)}"'.encode()

    async def opened(folder: Path, data: bytes) -> bytes:
        return await chain_in(folder).decode(data, Scope("default"))

    with started(server, tmp_path):
        with service(port, plain, mode, "plain"):
            await listening(port)
            await server.register(f"http://127.0.0.1:{port}", http1=mode == "request_response")
            invocation = await start(server, "plain")
            assert await result(server, invocation) == expected
            plain_size = len(await journal(server, invocation))
        with service(port, calm, mode):
            invocation = await start(server, "calm")
            assert await opened(calm, await result(server, invocation)) == expected
            assert len(await journal(server, invocation)) <= plain_size / 100
        for turn in KILLED_AT:
            with service(port, killed, mode):
                if turn == KILLED_AT[0]:
                    invocation = await start(server, "killed")
                await until(partial(has_taken, killed, turn))
    with service(port, killed, mode):
        with started(server, tmp_path):
            await until(partial(has_taken, killed, SERVER_KILLED_AT))
        with started(server, tmp_path):
            assert await opened(killed, await result(server, invocation)) == expected
            kept = await journal(server, invocation)
    assert len(kept) <= plain_size / 100

    turns = turns_in(killed)
    assert sorted(set(turns)) == list(range(TURNS))
    # A turn that was taken and not yet journaled when the process was killed has to be taken again.
    assert len(turns) <= TURNS + len(KILLED_AT) + 1
    stored = await objects_in(killed)
    assert {object_id.hex() for object_id in referred_to(kept)} <= set(stored)
    assert len(stored) == len(await objects_in(calm)), "the kills have left objects behind"
