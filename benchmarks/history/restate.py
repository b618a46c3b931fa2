"""Size of an agent's run in Restate's journal, plain and with coatcheck.

``python -m benchmarks.history --engine restate [--turns N] [--json [PATH]]``. On a real Restate server, over HTTP/2: the demo's agent
is a handler that gets its whole conversation in a step of each turn, and keeps it as state. Each way has its own service
process. The journal's sizes are from the server's SQL tables (``sys_journal``, ``state``); objects are in a directory. Every
result is compared with the expected conversation, byte for byte.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config
from restate import ObjectContext, RunOptions, VirtualObject

from benchmarks.charting.ways import PLAIN
from benchmarks.harness import targets
from benchmarks.harness.command import arguments, on_real_servers, show
from benchmarks.harness.records import Record, note, values
from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, Scope, Zstd
from coatcheck.cli.demo.conversation import Message, conversation, turn
from coatcheck.integrations.restate import ClaimCheck
from tests.engines.process import free_port
from tests.engines.restate import RestateServer, serving

CASES = (PLAIN, "coatcheck")
_SEED = 0
_PATIENCE = 300.0


def agent() -> VirtualObject:
    """The service: its state and the result of each step are the whole conversation."""
    service = VirtualObject("Agent")

    def say(so_far: list[Message], number: int) -> list[Message]:
        return [*so_far, *turn(_SEED, number)]

    @service.handler()
    async def live(ctx: ObjectContext, turns: int) -> list[Message]:
        so_far: list[Message] = []
        for number in range(1, turns + 1):
            so_far = await ctx.run_typed("turn", say, RunOptions(type_hint=list), so_far, number)
            ctx.set("conversation", so_far)
        return so_far

    return service


def chain_in(folder: Path) -> Chain:
    """Return the serdes of the service and of its caller."""
    return Chain(Zstd(), Encrypt(Keyring(Key(bytes(32)))), Offload(FileStore(folder)))


def host(case: str, port: int, folder: Path) -> None:
    """Run the service process."""
    app: Any = restate.app([agent()]) if case == PLAIN else ClaimCheck(chain_in(folder)).app([agent()])
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.errorlog = None
    asyncio.run(serve(app, config))


@contextmanager
def hosted(case: str, port: int, folder: Path) -> Iterator[None]:
    """Run a service process within the block."""
    command = [sys.executable, "-m", __spec__.name, "--host", case, str(port), str(folder)]
    with subprocess.Popen(command, env=os.environ) as process:  # noqa: S603 - this module
        try:
            yield
        finally:
            process.kill()


async def measure(case: str, turns: int, server: RestateServer, folder: Path) -> list[Record]:
    """Measure one run."""
    port = free_port()
    with hosted(case, port, folder):
        await _registered(server, f"http://127.0.0.1:{port}")
        async with httpx.AsyncClient(base_url=server.ingress, timeout=_PATIENCE) as caller:
            (await caller.post(f"/Agent/{case}-warm-up/live", json=1)).raise_for_status()
            before = _stored(folder)
            start = time.perf_counter()
            answer = await caller.post(f"/Agent/{case}/live", json=turns)
            seconds = time.perf_counter() - start
            answer.raise_for_status()
    result = await chain_in(folder).decode(answer.content, Scope("default"))
    if result != json.dumps(conversation(_SEED, turns)).encode():
        raise AssertionError(f"{case}: the result differs from the conversation")
    journal = await server.query(
        "select count(*) as entries, sum(raw_length) as size from sys_journal j join sys_invocation i on j.id = i.id "  # noqa: S608 - ours
        f"where i.target_service_key = '{case}'"
    )
    state = await server.query(f"select sum(value_length) as size from state where service_key = '{case}'")  # noqa: S608 - ours
    stored = _stored(folder)
    return [
        Record(case, "journal_bytes", _number(journal[0]["size"]), "bytes"),
        Record(case, "journal_entries", _number(journal[0]["entries"]), "entries"),
        Record(case, "state_bytes", _number(state[0]["size"]), "bytes"),
        Record(case, "stored_bytes", sum(stored) - sum(before), "bytes"),
        Record(case, "objects", len(stored) - len(before), "objects"),
        Record(case, "wall_seconds", seconds, "s"),
    ]


async def measure_all(turns: int) -> list[Record]:
    """Measure both ways."""
    with TemporaryDirectory() as name, serving(Path(name)) as server:
        records = []
        for case in CASES:
            note(f"{case}, {turns} turns")
            records += await measure(case, turns, server, Path(name, case))
        return records


async def _registered(server: RestateServer, uri: str) -> None:
    """Register the service as soon as it listens."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            await server.register(uri)
        except httpx.HTTPStatusError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.1)
        else:
            return


def _stored(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.rglob("*") if path.is_file()]


def _number(value: object) -> float:
    return float(str(value or 0))


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--turns", type=int, default=60, help="turns of the agent (60)")
    parser.add_argument("--host", nargs=3, metavar=("CASE", "PORT", "FOLDER"), help="run the service process")
    options = parser.parse_args()
    if options.host:
        case, port, folder = options.host
        host(case, int(port), Path(folder))
        return
    with on_real_servers():
        records = asyncio.run(measure_all(options.turns))
    show(records, options, targets.restate(values(records)))


if __name__ == "__main__":
    main()
