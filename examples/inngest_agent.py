"""An agent on Inngest that reads much, asks a person, and leaves next to nothing in the run state.

Start it, and a dev server beside it (https://www.inngest.com/docs/dev-server):

    uvicorn inngest_agent:app --app-dir examples
    inngest dev -u http://127.0.0.1:8000/api/inngest

Ask something, and approve what it drafted with the number that you asked under:

    curl http://127.0.0.1:8288/e/key -d '{"name": "report/asked", "data": {"report": 7, "about": "tides"}}'
    curl http://127.0.0.1:8288/e/key -d '{"name": "report/approved", "data": {"report": 7, "by": "Ada"}}'

What the steps return, what they hand to one another, and what errors say is compressed, sealed and, above 2 KB, kept in a
folder; Inngest sees references. ``report`` stays in the clear, because the approval is matched by it.
"""

import hashlib
import os
from typing import Any

import inngest
import inngest.fast_api
from fastapi import FastAPI

from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, Zstd
from coatcheck.integrations.inngest import claim_check

SOURCES = 4
KEYS = Keyring(Key(bytes(range(32))))
"""For the example; yours come from `Keyring.from_env()`."""

chain = Chain(Zstd(), Encrypt(KEYS), Offload(FileStore(os.environ.get("PAYLOADS"))))
middleware = claim_check(chain, clear=["report"])
client = inngest.Inngest(app_id="reports", is_production=False, middleware=[middleware])


def text(about: str, size: int) -> str:
    """Stands in for what a model or a search would say: of ``size`` characters, and always the same."""
    words = (hashlib.sha256(f"{about} {n}".encode()).hexdigest() for n in range(size // 65 + 1))
    return " ".join(words)[:size]


@client.create_function(fn_id="summarise", trigger=inngest.TriggerEvent(event="report/summarise"))
async def summarise(ctx: inngest.Context) -> str:
    """A function of its own, which the agent invokes with all that was found."""
    found: Any = ctx.event.data["found"]
    return text(hashlib.sha256("".join(found).encode()).hexdigest(), 20_000)


@client.create_function(fn_id="agent", trigger=inngest.TriggerEvent(event="report/asked"))
async def agent(ctx: inngest.Context) -> dict[str, Any]:
    """Searches in parallel, has it summarised, waits for a person, and hands in the report."""
    about, report = str(ctx.event.data["about"]), ctx.event.data["report"]

    async def search(source: int) -> str:
        return text(f"{about} in source {source}", 400_000)

    found = await ctx.group.parallel(
        tuple(
            lambda source=source: ctx.step.run(f"search-{source}", search, source)  # type: ignore[misc]
            for source in range(SOURCES)
        )
    )
    summary = await ctx.step.invoke("summarise", function=summarise, data={"found": list(found)})

    approval = await ctx.step.wait_for_event(
        "approval",
        event="report/approved",
        if_exp="event.data.report == async.data.report",
        timeout=24 * 60 * 60 * 1000,
    )
    if approval is None:
        raise inngest.NonRetriableError(f"nobody approved report {report} within a day")

    async def hand_in() -> dict[str, Any]:
        return {"report": report, "summary": summary, "approved_by": approval.data["by"]}

    return await ctx.step.run("hand-in", hand_in)


app = FastAPI()
inngest.fast_api.serve(app, client, middleware.checked([agent, summarise]))
