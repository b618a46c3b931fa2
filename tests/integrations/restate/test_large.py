"""A value that Restate refuses."""

import asyncio

import pytest
import restate
from restate import Context, Service

from coatcheck.integrations.restate import ClaimCheck
from tests.chains import encrypted_chain
from tests.engines.restate import RestateServer
from tests.integrations.restate.hosting import MODES, Protocol, hosting, until

SIZE = 40 * 2**20


def service() -> tuple[Service, object]:
    made = Service("Large")

    @made.handler()
    async def make(ctx: Context, size: int) -> int:
        value = await ctx.run_typed("make", lambda: "x" * size)
        return len(value)

    return made, make


async def test_plain_restate_refuses_40_mb(restate_server: RestateServer) -> None:
    large, make = service()
    async with (
        hosting(restate_server, restate.app([large])),
        restate.create_client(restate_server.ingress) as client,
    ):
        sent = await client.service_send(make, SIZE)  # type: ignore[arg-type]
        sql = f"select last_failure_error_code as code from sys_invocation where id = '{sent.invocation_id}'"  # noqa: S608 - ours

        async def refused() -> bool:
            rows = await restate_server.query(sql)
            return bool(rows) and rows[0].get("code") == "RT0003"

        await until(refused)


@pytest.mark.parametrize("mode", MODES)
async def test_with_a_chain_40_mb_pass(restate_server: RestateServer, mode: Protocol) -> None:
    large, make = service()
    claims = ClaimCheck(encrypted_chain())
    async with (
        hosting(restate_server, claims.app([large], mode), mode),
        claims.create_client(restate_server.ingress) as client,
    ):
        async with asyncio.timeout(60):
            assert await client.service_call(make, SIZE) == SIZE  # type: ignore[arg-type]
