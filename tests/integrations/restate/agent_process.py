"""A service process to be killed: ``python -m tests.integrations.restate.agent_process PORT FOLDER PROTOCOL WAY``.

Its agent is given its whole conversation at each turn. Each turn is noted in a file before it is journaled.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, Literal, cast

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config
from restate import ObjectContext, RunOptions, VirtualObject

from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, Zstd
from coatcheck.integrations.restate import ClaimCheck
from tests.integrations.restate.agents import text

TURN = 3000
"""Characters."""


def chain_in(folder: Path) -> Chain:
    """Of the service, and of its callers."""
    return Chain(Zstd(), Encrypt(Keyring(Key(bytes(32)))), Offload(FileStore(folder / "payloads")))


def conversation(turns: int) -> str:
    """What the agent has to come to."""
    return "".join(text(f"turn {turn}", TURN) for turn in range(turns))


def agent(folder: Path) -> VirtualObject:
    """The service."""
    service = VirtualObject("KilledAgent")

    def take_turn(so_far: str, turn: int) -> str:
        with (folder / "turns").open("a") as notes:
            notes.write(f"{turn}\n")
            os.fsync(notes.fileno())
        return so_far + text(f"turn {turn}", TURN)

    @service.handler()
    async def live(ctx: ObjectContext, turns: int) -> str:
        so_far = ""
        for turn in range(turns):
            so_far = await ctx.run_typed("turn", take_turn, RunOptions(type_hint=str), so_far, turn)
            ctx.set("so far", so_far)
        return so_far

    return service


def app(folder: Path, protocol: str, way: str) -> Any:
    """Plain, or with the chain."""
    mode = cast(Literal["bidi", "request_response"], protocol)
    if way == "plain":
        return restate.app([agent(folder)], mode)
    return ClaimCheck(chain_in(folder)).app([agent(folder)], mode)


if __name__ == "__main__":
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    asyncio.run(serve(app(Path(sys.argv[2]), sys.argv[3], sys.argv[4]), config))
