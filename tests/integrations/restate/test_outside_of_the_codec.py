"""What the SDK does not show the codec: bodies as they came, and results that are fetched over HTTP."""

import asyncio

import httpx
import pytest
import restate
from restate import Context, HttpError, Service, Workflow, WorkflowContext
from restate.serde import BytesSerde

from coatcheck import IntegrityError
from coatcheck.integrations.restate import ClaimCheck
from tests.chains import encrypted_chain
from tests.engines.restate import RestateServer
from tests.integrations.restate.agents import SECRET, text
from tests.integrations.restate.hosting import MODES, Protocol, hosting

JSON = {"content-type": "application/json"}


class World:
    """A service that looks at the request itself, and a workflow that waits."""

    def __init__(self, claims: ClaimCheck) -> None:
        self.seen: list[tuple[bytes, bytes]] = []
        self.desk, self.case = Service("Desk"), Workflow("Case")

        @self.desk.handler()
        async def file(ctx: Context, paper: str) -> str:
            raw = ctx.request().body
            self.seen.append((raw, await claims.open(raw)))
            return paper + paper

        @self.desk.handler()
        async def fail(ctx: Context, paper: str) -> str:
            del ctx
            raise restate.TerminalError(f"{len(paper)} characters are not enough", 422)

        @self.case.main()
        async def run(ctx: WorkflowContext, paper: str) -> str:
            return paper + await ctx.promise("verdict", type_hint=str).value()

        @self.case.handler()
        async def decide(ctx: WorkflowContext, verdict: str) -> None:
            await ctx.promise("verdict", type_hint=str).resolve(verdict)

        self.file, self.fail, self.run, self.decide = file, fail, run, decide


@pytest.mark.parametrize("mode", MODES)
async def test_the_body_of_a_request_was_ciphertext(restate_server: RestateServer, mode: Protocol) -> None:
    claims = ClaimCheck(encrypted_chain())
    world = World(claims)
    async with (
        hosting(restate_server, claims.app([world.desk], mode), mode),
        claims.create_client(restate_server.ingress) as client,
        httpx.AsyncClient(base_url=restate_server.ingress) as outside,
    ):
        for paper in ("short", text("long", 20_000)):
            assert await client.service_call(world.file, paper) == paper + paper
            raw, opened = world.seen.pop(0)
            assert paper.encode() not in raw
            assert opened == f'"{paper}"'.encode()
            world.seen.clear()
        answer = await outside.post("/Desk/file", json="in the clear")
        assert answer.is_success
        assert world.seen[0] == (b'"in the clear"', b'"in the clear"')


async def test_a_body_in_the_clear_is_opened_only_where_inputs_may_be_in_the_clear(
    restate_server: RestateServer,
) -> None:
    claims = ClaimCheck(encrypted_chain(accept_plain=False), plain_inputs=["Desk/file"])
    world = World(claims)
    async with (
        hosting(restate_server, claims.app([world.desk])),
        httpx.AsyncClient(base_url=restate_server.ingress) as outside,
    ):
        assert (await outside.post("/Desk/file", json="paper")).is_success
        assert world.seen[0][1] == b'"paper"'
    with pytest.raises(IntegrityError, match="in the clear"):
        await claims.open(b'"forged"')


async def test_a_result_that_is_attached_to_was_ciphertext(restate_server: RestateServer) -> None:
    claims = ClaimCheck(encrypted_chain())
    world = World(claims)
    paper = text("paper", 20_000)
    async with (
        hosting(restate_server, claims.app([world.desk, world.case])),
        claims.create_client(restate_server.ingress) as client,
        httpx.AsyncClient(base_url=restate_server.ingress) as outside,
    ):
        sent = await client.service_send(world.file, paper, idempotency_key="once")
        assert await client.attach(sent.invocation_id) == paper + paper
        assert await client.output(sent.invocation_id) == paper + paper
        assert await client.output("invocation/Desk/file/once") == paper + paper
        raw = await client.output(sent.invocation_id, BytesSerde())
        assert raw == f'"{paper}{paper}"'.encode()
        answer = await outside.get(f"/restate/invocation/{sent.invocation_id}/output")
        assert SECRET.encode() not in answer.content
        assert await claims.open(answer.content) == raw

        await client.workflow_send(world.run, paper[-20:], paper)
        with pytest.raises(HttpError) as caught:
            await client.output(f"workflow/Case/{paper[-20:]}")
        assert caught.value.status_code == 470
        waiting = asyncio.create_task(client.attach(f"workflow/Case/{paper[-20:]}"))
        await client.workflow_call(world.decide, paper[-20:], "granted")
        assert await waiting == paper + "granted"

        failed = await client.service_send(world.fail, paper)
        with pytest.raises(HttpError) as caught:
            await client.attach(failed.invocation_id)
        assert caught.value.status_code == 422
        assert "20028 characters are not enough" in (caught.value.body or "")


async def test_a_client_of_the_sdk_takes_the_codec(restate_server: RestateServer) -> None:
    """``restate.create_test_harness``, which starts containers, makes its client so."""
    claims = ClaimCheck(encrypted_chain(accept_plain=False))
    world = World(claims)
    async with (
        hosting(restate_server, claims.app([world.desk])),
        restate.create_client(
            restate_server.ingress, journal_value_codec=claims.journal_value_codec
        ) as client,
    ):
        paper = text("paper", 20_000)
        assert await client.service_call(world.file, paper) == paper + paper
