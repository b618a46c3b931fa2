# ruff: noqa: T201 - an example prints
"""A Restate agent whose journal holds references only.

    npx @restatedev/restate-server                 # in one terminal
    python examples/restate_agent.py serve         # in another one
    python examples/restate_agent.py talk          # in a third one

The agent is a virtual object: its conversation is state, each turn is a step, and a refund waits for somebody's approval,
who sends a report of 200 KB with it. Only the line with ``ClaimCheck`` differs from a plain service.
"""

import asyncio
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import TypedDict

import httpx
from hypercorn.asyncio import serve
from hypercorn.config import Config
from restate import ObjectContext, RunOptions, VirtualObject

from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, Scope, Zstd
from coatcheck.integrations.restate import ClaimCheck

TURNS = 12
PAYLOADS = Path(tempfile.gettempdir()) / "coatcheck-restate"
CHAIN = Chain(Zstd(), Encrypt(Keyring(Key(bytes(range(32))))), Offload(FileStore(PAYLOADS)))
"""For the example; yours comes from `Chain.from_settings()`."""
CLAIMS = ClaimCheck(CHAIN)

agent = VirtualObject("SupportAgent")


class Message(TypedDict):
    """One message of the conversation."""

    role: str
    content: str


def think(conversation: list[Message]) -> Message:
    """Stands in for a model: an answer of about 6 KB that depends on all that was said."""
    seen = hashlib.sha256("".join(message["content"] for message in conversation).encode())
    words = (hashlib.sha256(seen.digest() + bytes([n])).hexdigest() for n in range(96))
    return {"role": "assistant", "content": " ".join(words)}


@agent.handler()
async def ask(ctx: ObjectContext, question: str) -> list[Message]:
    """One question, some turns, an approval."""
    conversation: list[Message] = await ctx.get("conversation") or []
    conversation.append({"role": "user", "content": question})
    for _ in range(TURNS):
        conversation.append(await ctx.run_typed("think", think, RunOptions(), conversation))
        ctx.set("conversation", conversation)
    gate, approval = ctx.awakeable(type_hint=str)
    ctx.set("gate", gate)
    conversation.append({"role": "reviewer", "content": await approval})
    ctx.clear("gate")
    ctx.set("conversation", conversation)
    return conversation


@agent.handler(kind="shared")
async def waiting_at(ctx: ObjectContext) -> str:
    """The gate that the agent is waiting at, if it is."""
    return await ctx.get("gate") or ""


async def serve_agent(port: int) -> None:
    """The service."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    await serve(CLAIMS.app([agent]), config)


async def talk(ingress: str, admin: str, service: str) -> None:
    """Register the service, ask, approve, and look at what the server keeps."""
    async with (
        httpx.AsyncClient(timeout=60) as http,
        CLAIMS.create_client(ingress) as client,
    ):
        (await http.post(f"{admin}/deployments", json={"uri": service, "force": True})).raise_for_status()
        asked = asyncio.create_task(client.object_call(ask, "customer-7", "Where is my refund?"))
        while not (gate := await client.object_call(waiting_at, "customer-7", None)):  # noqa: ASYNC110 - it is remote
            await asyncio.sleep(0.1)
        report = f'"Approved. {"All receipts were checked. " * 7500}"'
        # Somebody outside of Restate encodes what is large; what is small, or plain, is taken as it is.
        body = await CHAIN.encode(report.encode(), Scope("default"))
        (await http.post(f"{ingress}/restate/awakeables/{gate}/resolve", content=body)).raise_for_status()
        conversation = await asked
        query = "select raw_length as size from sys_journal union all select value_length from state"
        answer = await http.post(
            f"{admin}/query", json={"query": query}, headers={"accept": "application/json"}
        )
        kept = sum(row["size"] for row in answer.json()["rows"])
    said = sum(len(message["content"]) for message in conversation)
    print(f"the conversation has {len(conversation)} messages and {said:,} characters")
    print(f"journal and state have {kept:,} bytes")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", *port]:
            asyncio.run(serve_agent(int(port[0]) if port else 9080))
        case ["talk", *urls]:
            defaults = ["http://127.0.0.1:8080", "http://127.0.0.1:9070", "http://127.0.0.1:9080"]
            asyncio.run(talk(*(urls or defaults)))
        case _:
            sys.exit(__doc__)
