"""Callers without a key, on the real server: what they write in the clear is not believed where that was said."""

import asyncio

import httpx
import pytest
from restate.serde import DefaultSerde

from coatcheck import ConfigError, IntegrityError, MemoryStore, Scope
from coatcheck.integrations.restate import ClaimCheck
from coatcheck.integrations.restate.client import _Responses
from tests.chains import encrypted_chain
from tests.engines.restate import RestateServer
from tests.integrations.restate.agents import World, text
from tests.integrations.restate.hosting import MODES, Protocol, hosting, until

REFUSED = "is in the clear"


@pytest.mark.parametrize("mode", MODES)
async def test_everything_honest_works(restate_server: RestateServer, mode: Protocol) -> None:
    """State, calls, sends, awakeables, promises, nothing given and nothing returned."""
    world = World()
    claims = ClaimCheck(encrypted_chain(accept_plain=False))
    async with (
        hosting(restate_server, claims.app(world.services, protocol=mode), mode),
        claims.create_client(restate_server.ingress) as client,
    ):
        task, key = text("task"), world.name + "mine"
        assert await client.service_call(world.h["work"], task) == world.work_of(task)
        assert await client.object_call(world.h["remember"], key, "short") == ""
        assert await client.object_call(world.h["recall"], key, None) == "short"
        await client.object_call(world.h["forget"], key, None)
        assert await client.object_call(world.h["recall"], key, None) == ""
        running = asyncio.create_task(client.workflow_call(world.h["run"], key, task))
        await client.workflow_call(world.h["decide"], key, "verdict")
        assert await running == task + "verdict"


async def test_a_call_in_the_clear_is_refused_but_where_it_was_named(restate_server: RestateServer) -> None:
    world = World()
    chain = encrypted_chain(accept_plain=False)
    async with (
        hosting(restate_server, ClaimCheck(chain, plain_inputs=["Tools/tool"]).app(world.services)),
        httpx.AsyncClient(base_url=restate_server.ingress) as browser,
    ):
        for refused in ("/Agent/work", f"/Memory/{world.name}/remember"):
            answer = await browser.post(refused, json="forged")
            assert answer.status_code == 400
        assert not world.actions
        answer = await browser.post("/Tools/tool", json="question")
        assert (
            await chain.decode(answer.content, Scope("default"))
            == f'"{text("tool:question")}question"'.encode()
        )


async def test_a_whole_service_can_be_named(restate_server: RestateServer) -> None:
    world = World()
    claims = ClaimCheck(encrypted_chain(accept_plain=False), plain_inputs=["Memory"])
    async with (
        hosting(restate_server, claims.app(world.services)),
        httpx.AsyncClient(base_url=restate_server.ingress) as browser,
    ):
        assert (await browser.post(f"/Memory/{world.name}/remember", json="x")).status_code == 200
        assert (await browser.post("/Tools/tool", json="forged")).status_code == 400


@pytest.mark.parametrize("named", [(), ("Agent", "Memory")], ids=["none", "inputs"])
async def test_state_and_awakeables_in_the_clear_are_not_believed(
    restate_server: RestateServer, named: tuple[str, ...]
) -> None:
    """Nor where inputs are: they come by other ways."""
    world = World()
    chain = encrypted_chain(accept_plain=False)
    claims = ClaimCheck(chain, plain_inputs=named)
    async with (
        hosting(restate_server, claims.app(world.services)),
        claims.create_client(restate_server.ingress) as client,
        httpx.AsyncClient(base_url=restate_server.ingress) as outside,
        httpx.AsyncClient(base_url=restate_server.admin) as admin,
    ):
        await client.object_call(world.h["remember"], world.name, "honest")
        forged = {"object_key": world.name, "new_state": {"last": list(b'"forged"')}}
        (await admin.post("/services/Memory/state", json=forged)).raise_for_status()

        async def is_there() -> bool:
            rows = await restate_server.query(
                f"select value_utf8 from state where service_key = '{world.name}'"  # noqa: S608 - ours
            )
            return rows == [{"value_utf8": '"forged"'}]

        await until(is_there)
        handle = await client.object_send(world.h["recall"], world.name, None)
        await failed(restate_server, handle.invocation_id)

        sent = await client.service_send(world.h["wait"], "approved: ")
        await until(lambda: bool(world.gate))
        answer = await outside.post(f"/restate/awakeables/{world.gate}/resolve", json="forged")
        answer.raise_for_status()
        await failed(restate_server, sent.invocation_id)
        for invocation in (handle.invocation_id, sent.invocation_id):
            await admin.patch(f"/invocations/{invocation}/kill")


async def failed(server: RestateServer, invocation: str) -> None:
    """Wait until an attempt failed because of what came in the clear."""

    async def said() -> bool:
        rows = await server.query(f"select last_failure from sys_invocation where id = '{invocation}'")  # noqa: S608 - ours
        return REFUSED in str(rows)

    await until(said)


async def test_a_client_and_a_serde_take_nothing_in_the_clear() -> None:
    chain = encrypted_chain(MemoryStore(), accept_plain=False)
    with pytest.raises(IntegrityError, match=REFUSED):
        await _Responses(chain, "default").decode(b'"forged"')
    assert await _Responses(chain, "default").decode(b"") == b""
    serde = ClaimCheck(chain).serde()
    with pytest.raises(IntegrityError, match=REFUSED):
        serde.deserialize(b'"forged"')
    assert serde.deserialize(serde.serialize("honest")) == "honest"
    assert serde.deserialize(b"") == DefaultSerde().deserialize(b"")


def test_a_misspelt_name_of_an_input_is_refused() -> None:
    claims = ClaimCheck(encrypted_chain(accept_plain=False), plain_inputs=["Tools/tol", "Agent"])
    with pytest.raises(ConfigError, match=r"plain_inputs names Tools/tol, which"):
        claims.app(World().services)
