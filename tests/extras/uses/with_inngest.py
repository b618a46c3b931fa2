"""``with_inngest.py SERVER PORT``: a function whose step and result are offloaded.

Serves at the port until it is told to stop.
"""

import logging
import sys

import inngest
import inngest.fast_api
import uvicorn
from chains import chain_on
from fastapi import FastAPI

from coatcheck import MemoryStore
from coatcheck.integrations.inngest import claim_check

server, port = sys.argv[1:]
client = inngest.Inngest(
    app_id="extra",
    is_production=False,
    api_base_url=server,
    event_api_base_url=server,
    middleware=[claim_check(chain_on(MemoryStore()))],
)


@client.create_function(fn_id="extra", trigger=inngest.TriggerEvent(event="extra/asked"))
async def answered(ctx: inngest.Context) -> str:
    async def read() -> str:
        return "".join(f"{n * 2654435761 % 2**32:08x}" for n in range(10_000))

    text = await ctx.step.run("read", read)
    assert len(text) == 80_000
    return text


logging.basicConfig()
app = FastAPI()
inngest.fast_api.serve(app, client, [answered])
uvicorn.run(app, port=int(port), log_level="warning")
