"""Every way in which Restate journals a value, on the real server, in both protocol modes."""

import asyncio

import httpx
import pytest
from restate import HttpError, RestateClient

from coatcheck import IntegrityError, Scope
from coatcheck.format.wire import MAGIC
from coatcheck.integrations.restate import ClaimCheck
from tests.chains import encrypted_chain
from tests.engines.restate import RestateServer
from tests.integrations.restate.agents import SECRET, World, text
from tests.integrations.restate.hosting import MODES, Protocol, hosting, until
from tests.integrations.restate.watching import FaultyStore, Watched, referred_to


async def journal(server: RestateServer) -> bytes:
    """All that the server keeps of values for these services."""
    rows = await server.query(
        "select raw as value from sys_journal j join sys_invocation i on j.id = i.id "
        "where i.target_service_name in ('Agent', 'Approval', 'Memory', 'Tools') "
        "union all select value from state where service_name = 'Memory'"
    )
    return b"".join(bytes.fromhex(str(row["value"])) for row in rows if row["value"])


async def recalled(client: RestateClient, world: World, key: str, value: str) -> None:
    async def there() -> bool:
        return bool(await client.object_call(world.h["recall"], key, None) == value)

    await until(there)


@pytest.mark.parametrize("mode", MODES)
async def test_every_value_comes_back_and_none_stands_in_the_journal(
    restate_server: RestateServer, mode: Protocol
) -> None:
    world, store = World(), FaultyStore()
    chain = encrypted_chain(store)
    claims = ClaimCheck(chain)
    app = Watched(claims.app(world.services, protocol=mode), store)
    async with (
        hosting(restate_server, app, mode),
        claims.create_client(restate_server.ingress) as client,
    ):
        task, key = text(f"task in {mode}"), world.name + "mine"
        assert await client.service_call(world.h["work"], task) == world.work_of(task)
        answer = world.work_of("")[len(text("think")) : -len(text("because"))]
        await recalled(client, world, world.name, answer)
        await recalled(client, world, world.name + "later", answer)
        assert world.actions == {"think": 1, "tool:" + text("think")[-20:]: 1}

        assert await client.object_call(world.h["remember"], key, task) == ""
        assert await client.object_call(world.h["remember"], key, "short") == task
        assert await client.object_call(world.h["recall"], key, None) == "short"
        await client.object_call(world.h["forget"], key, None)
        assert await client.object_call(world.h["recall"], key, None) == ""

        running = asyncio.create_task(client.workflow_call(world.h["run"], key, task))
        await client.workflow_call(world.h["decide"], key, text("verdict"))
        assert await running == task + text("verdict")

        assert app.references
        assert app.dangling == []
        kept = await journal(restate_server)
        assert SECRET.encode() not in kept
        assert SECRET.encode().hex().encode() not in kept
        assert all(store.has(object_id) for object_id in app.references)
        assert set(app.references) <= set(referred_to(kept))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("encoded", [False, True], ids=["plain-json", "encoded"])
async def test_an_approval_from_outside_opens_the_gate(
    restate_server: RestateServer, mode: Protocol, *, encoded: bool
) -> None:
    world, store = World(), FaultyStore()
    chain = encrypted_chain(store)
    claims = ClaimCheck(chain)
    reason = text("from outside", 200_000).removeprefix(SECRET)
    body = f'"{reason}"'.encode()
    async with (
        hosting(restate_server, claims.app(world.services, protocol=mode), mode),
        claims.create_client(restate_server.ingress) as client,
        httpx.AsyncClient(base_url=restate_server.ingress) as outside,
    ):
        waiting = asyncio.create_task(client.service_call(world.h["wait"], "approved: "))
        await until(lambda: bool(world.gate))
        if encoded:
            body = await chain.encode(body, Scope("default"))
        answer = await outside.post(f"/restate/awakeables/{world.gate}/resolve", content=body)
        answer.raise_for_status()
        assert await waiting == "approved: " + reason


async def test_callers_without_the_codec_are_heard(restate_server: RestateServer) -> None:
    world = World()
    chain = encrypted_chain()
    async with (
        hosting(restate_server, ClaimCheck(chain).app(world.services)),
        httpx.AsyncClient(base_url=restate_server.ingress) as plain,
    ):
        answer = await plain.post("/Tools/tool", json="plain question")
        expected = text("tool:plain question") + "plain question"
        assert await chain.decode(answer.content, Scope("default")) == f'"{expected}"'.encode()
        nothing = await plain.post("/Memory/nobody/forget")
        assert (nothing.status_code, nothing.content) == (200, b"")


async def test_one_tenant_does_not_open_what_another_one_wrote(restate_server: RestateServer) -> None:
    world, store = World(), FaultyStore()
    ours, theirs = (ClaimCheck(encrypted_chain(store), tenant=name) for name in ("ours", "theirs"))
    async with (
        hosting(restate_server, ours.app(world.services)),
        theirs.create_client(restate_server.ingress) as client,
    ):
        with pytest.raises(HttpError, match="400"):
            await client.service_call(world.h["tool"], text("foreign"))
        assert not world.actions


async def test_the_scope_of_an_object_is_its_key_and_that_of_a_service_the_invocation(
    restate_server: RestateServer,
) -> None:
    world = World()
    chain = encrypted_chain()
    claims = ClaimCheck(chain, tenant="acme")
    async with (
        hosting(restate_server, claims.app(world.services)),
        claims.create_client(restate_server.ingress) as client,
    ):
        await client.object_call(world.h["remember"], world.name, text("value"))
        await client.service_call(world.h["tool"], "question")
    [state] = await restate_server.query(f"select value from state where service_key = '{world.name}'")  # noqa: S608 - ours
    [step] = await restate_server.query(
        "select id, raw from sys_journal where entry_type = 'Notification: Run' order by appended_at desc limit 1"
    )
    value = bytes.fromhex(str(state["value"]))
    assert (
        await chain.open(value, Scope("acme", f"Memory/{world.name}", engine="restate"))
        == f'"{text("value")}"'.encode()
    )
    with pytest.raises(IntegrityError):
        await chain.open(value, Scope("acme", "Memory/another", engine="restate"))
    raw = bytes.fromhex(str(step["raw"]))
    result = raw[raw.index(MAGIC) :]
    assert (
        await chain.open(result, Scope("acme", str(step["id"]), engine="restate"))
        == f'"{text("tool:question")}"'.encode()
    )
    with pytest.raises(IntegrityError):
        await chain.open(result, Scope("acme", "inv_another", engine="restate"))
