"""Functions at one step of a roll-out: ``python -m tests.integrations.inngest.rollout_process URL APP FOLDER PORT STEP``.

Says ``ready`` when it can be asked.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import uvicorn
from inngest import Context

from coatcheck.integrations.inngest import claim_check
from tests.engines.inngest import InngestServer
from tests.integrations.inngest.process import ReadyServer
from tests.integrations.inngest.serving import App, fast_api_of, new_app, text
from tests.rollout import chain_at, note

SIZE = 20_000
SAME_TASK = "event.data.task == async.data.task"


def app_at(step: str, server: InngestServer, name: str, folder: Path) -> App:
    chain = chain_at(step, folder)
    return new_app(server, *([claim_check(chain, clear=["task"])] if chain else []), name=name)


async def main(url: str, name: str, folder: Path, port: int, step: str) -> None:
    app = app_at(step, InngestServer(int(url.rsplit(":", 1)[1])), name, folder)

    @app.client.create_function(fn_id="child", retries=0, trigger=app.on("never"))
    async def child(ctx: Context) -> Any:
        return ctx.event.data["text"]

    @app.client.create_function(fn_id="work", retries=0, trigger=app.on("go"))
    async def work(ctx: Context) -> Any:
        task = str(ctx.event.data["task"])
        assert ctx.event.data["text"] == text(SIZE, task)
        note(folder / "requests", task)

        async def act(part: str) -> str:
            note(folder, f"{task} {part}")
            return text(SIZE, f"{task} {part}")

        before = await ctx.step.run("before", act, "before")
        await ctx.step.sleep("sleep", 1_000)
        invoked = await ctx.step.invoke(
            "invoked", function=child, data={"text": text(SIZE, f"{task} invoked")}
        )
        opened = await ctx.step.wait_for_event(
            "gate", event=app.event("open"), if_exp=SAME_TASK, timeout=60_000
        )
        after = await ctx.step.run("after", act, "after")
        return [before, invoked, opened and opened.data["text"], after]

    fast_api = fast_api_of(app, [child, work])
    await ReadyServer(uvicorn.Config(fast_api, port=port, log_level="error", ws="none")).serve()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5]))
