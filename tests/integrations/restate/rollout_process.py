"""A service at one step of a roll-out: ``python -m tests.integrations.restate.rollout_process PORT FOLDER PROTOCOL STEP``."""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, cast

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config
from restate import Context, InvocationRetryPolicy, ObjectContext, RunOptions, Service, VirtualObject

from coatcheck.integrations.restate import ClaimCheck
from tests.integrations.restate.agents import text
from tests.rollout import chain_at, note

_HASTE = InvocationRetryPolicy(
    initial_interval=timedelta(milliseconds=50), exponentiation_factor=1, max_attempts=10_000
)
"""Without a number of attempts the server pauses an invocation after 70: that is before a process begins on a busy machine."""


def services(folder: Path) -> list[Service | VirtualObject]:
    work, memory = Service("RolledOut", invocation_retry_policy=_HASTE), VirtualObject("RolledOutMemory")

    def act(task: str, part: str) -> str:
        note(folder, f"{task} {part}")
        return text(f"{task} {part}")

    @memory.handler()
    async def remember(ctx: ObjectContext, step: str) -> str:
        before = await ctx.get("last", type_hint=str) or ""
        ctx.set("last", text(step))
        return before

    @work.handler()
    async def wait(ctx: Context, task: str) -> str:
        before = await ctx.run_typed("before", act, RunOptions(type_hint=str), task, "before")
        name, opened = ctx.awakeable(type_hint=str)
        (folder / f"{task}.gate").write_text(name)
        said = await opened
        after = await ctx.run_typed("after", act, RunOptions(type_hint=str), task, "after")
        return task + before + said + after

    @work.handler()
    async def sleep(ctx: Context, task: str) -> str:
        before = await ctx.run_typed("before", act, RunOptions(type_hint=str), task, "before")
        await ctx.sleep(timedelta(seconds=1))
        seen = await ctx.object_call(remember, task, task)
        after = await ctx.run_typed("after", act, RunOptions(type_hint=str), task, "after")
        return task + before + seen + after

    return [work, memory]


def app(folder: Path, protocol: str, step: str) -> Any:
    mode = cast(Literal["bidi", "request_response"], protocol)
    chain = chain_at(step, folder)
    if chain is None:
        return restate.app(services(folder), mode)
    return ClaimCheck(chain).app(services(folder), mode)


if __name__ == "__main__":
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    asyncio.run(serve(app(Path(sys.argv[2]), sys.argv[3], sys.argv[4]), config))
