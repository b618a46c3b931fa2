"""Sweeps while a real Restate server holds values of invocations that are long gone."""

import asyncio
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import restate
from restate import Context, ObjectContext, RestateClient, Service, VirtualObject

from coatcheck import CoatcheckError, Scope
from coatcheck.integrations.restate import ClaimCheck, live_runs
from coatcheck.integrations.restate.live_runs import RestateRuns
from coatcheck.retention.rules import Action
from tests.engines.process import free_port
from tests.engines.restate import RestateServer, serving
from tests.integrations.restate.agents import text
from tests.integrations.restate.engine import Engine
from tests.integrations.restate.handing_on import HandingOn
from tests.integrations.restate.hosting import hosting, until
from tests.retention.sweeping import keys_of, sweep_of


@pytest.fixture
def engine(restate_server: RestateServer, tmp_path: Path) -> Engine:
    return Engine(restate_server, tmp_path)


def quoted(*names: str) -> bytes:
    return f'"{"".join(map(text, names))}"'.encode()


class Played:
    """What goes on when the sweep comes, and what has ended by then. Names of targets begin with ``n``."""

    def __init__(self, engine: Engine, world: HandingOn, client: RestateClient) -> None:
        self.engine, self.world, self.h, self.client = engine, world, world.h, client
        self.n = uuid4().hex
        self.memory, self.reviews = f"HandingMemory/{self.n}", f"HandingReview/{self.n}"
        self.gone: list[str] = []
        """Invocations that the server is to forget."""
        self.dead: set[str] = set()
        """Runs whose scopes nothing reaches then."""
        self.live: set[str | None] = {None}
        """Those whose scopes something reaches."""

    async def hold(self) -> None:
        """An answer and a reason of others, inputs of others, and the lock of a key: all others are gone."""
        n, h, engine, gates = self.n, self.h, self.engine, self.world.gates
        self.holding = (await self.client.object_send(h["hold"], n + "held", "holding")).invocation_id
        await until(lambda: n + "held/reason" in gates)
        [answered] = await engine.invoked_by(self.holding)
        await engine.over(answered)
        approved = await engine.sent(self.client, h["approve"], gates[n + "held/reason"])
        await until(lambda: n + "held/end" in gates)
        queued = await engine.sent(self.client, h["queue"], n + "held")
        planned = await engine.sent(self.client, h["plan"], n + "planned")
        self.gone += [answered, approved, queued, planned]
        self.live |= {answered, approved, queued, planned}

    async def end(self) -> None:
        """Some with their journal, some without, each once to be retained and once to be purged."""
        n, h, engine, client = self.n, self.h, self.engine, self.client
        self.retained, purged = [await engine.sent(client, h["answer"], name) for name in ("kept", "purged")]
        self.brief, brief_purged = [
            await engine.sent(client, h["brief"], name, idempotency_key=n + name)
            for name in ("kept", "purged")
        ]
        for name in ("kept", "forgotten"):
            await client.object_call(h["remember"], n + name, text("state " + name))
        await client.object_call(h["forget"], n + "forgotten", None)
        for name in ("kept", "purged"):
            reviewing = asyncio.create_task(client.workflow_call(h["run"], n + name, text("request")))
            await until(partial(engine.knows, f"{self.reviews}{name}/run"))
            await client.workflow_call(h["decide"], n + name, text("verdict"))
            assert await reviewing == text("request") + text("verdict")
        self.gone += [purged, brief_purged, *await engine.invocations(self.reviews + "purged")]
        for name in ("kept", "forgotten"):
            self.gone += await engine.invocations(self.memory + name)
        self.dead |= {purged, brief_purged, self.memory + "forgotten", self.reviews + "purged"}
        self.live |= {self.retained, self.brief, self.memory + "kept", self.reviews + "kept"}

    async def check(self) -> None:
        """Whatever is retained can be read, and what is scheduled would get its input."""
        n, engine = self.n, self.engine
        assert await engine.result(f"invocation/{self.retained}") == quoted("answer to kept")
        assert await engine.result(f"invocation/{self.brief}") == quoted("brief kept")
        assert await engine.result(f"workflow/HandingReview/{n}kept") == quoted("request", "verdict")
        assert await self.client.object_call(self.h["recall"], n + "kept", None) == text("state kept")
        [scheduled] = await engine.invocations(self.memory + "planned")
        assert await engine.input_of(scheduled) == quoted(f"planned {n}planned")

    async def go_on(self) -> None:
        """Open the last gate, and wait for what was queued behind it."""
        n, engine = self.n, self.engine
        async with httpx.AsyncClient(base_url=engine.server.ingress) as outside:
            gate = self.world.gates[n + "held/end"]
            (await outside.post(f"/restate/awakeables/{gate}/resolve", json="!")).raise_for_status()
        said = await engine.result(f"invocation/{self.holding}")
        assert said == quoted("answer to holding", "because")[:-1] + b'!"'
        for invocation in await engine.invocations(self.memory + "held"):
            await engine.over(invocation)
        assert await self.client.object_call(self.h["recall"], n + "held", None) == text(f"queued {n}held")

    async def forget_the_rest(self) -> None:
        """Nothing but state is left after this."""
        engine = self.engine
        for invocation in await engine.invocations(self.memory + "planned"):
            await engine.ask(invocation, "kill")
        rest = [self.retained, self.brief]
        rest += [one for of in (self.memory, self.reviews) for one in await engine.invocations(of)]
        for invocation in rest:
            await engine.over(invocation)
        await engine.purge(*rest)


async def test_exactly_what_nothing_reaches_is_freed(engine: Engine) -> None:
    world = HandingOn()
    async with (
        hosting(engine.server, engine.claims.app(world.services)),
        engine.claims.create_client(engine.server.ingress) as client,
    ):
        played = Played(engine, world, client)
        await played.hold()
        await played.end()
        await engine.purge(*played.gone)
        assert all([await engine.keys(run) for run in (*played.dead, *played.live - {None})])
        assert {key for run in played.dead | played.live for key in await engine.keys(run)} == set(
            await keys_of(engine.store)
        )
        kept = {key for run in played.live for key in await engine.keys(run)}
        await engine.sweep()
        assert set(await keys_of(engine.store)) == kept

    async with (
        hosting(engine.server, ClaimCheck(engine.chain, tenant=engine.tenant).app(world.services)),
        engine.claims.create_client(engine.server.ingress) as played.client,
    ):
        await played.check()
        await played.go_on()
        await played.forget_the_rest()
        states = [f"{played.memory}{name}" for name in ("kept", "held")]
        assert all([await engine.keys(run) for run in states])
        kept = {key for run in (*states, None) for key in await engine.keys(run)}
        await engine.sweep()
        assert set(await keys_of(engine.store)) == kept
        for name, value in (("kept", "state kept"), ("held", f"queued {played.n}held")):
            assert await played.client.object_call(world.h["recall"], played.n + name, None) == text(value)


async def test_texts_of_references_in_plain_values_keep_what_they_name(engine: Engine) -> None:
    tools, memory, n = Service("OffloadingTools"), VirtualObject("OffloadingMemory"), uuid4().hex

    @tools.handler()
    async def make(ctx: Context, key: str) -> str:
        reference = await engine.claims.offload(ctx, text(key))
        ctx.object_send(note, key, reference)
        return reference

    @memory.handler()
    async def note(ctx: ObjectContext, reference: str) -> None:
        ctx.set("reference", reference)

    @memory.handler()
    async def forget(ctx: ObjectContext) -> None:
        ctx.clear("reference")

    @memory.handler(kind="shared")
    async def load(ctx: ObjectContext) -> str:
        return str(await engine.claims.load(ctx, await ctx.get("reference", type_hint=str) or ""))

    async with (
        hosting(engine.server, restate.app([tools, memory])),
        restate.create_client(engine.server.ingress) as client,
    ):
        made = {name: await engine.sent(client, make, n + name) for name in ("kept", "forgotten")}
        for name in made:
            await until(partial(engine.knows, f"OffloadingMemory/{n}{name}"))
        await client.object_call(forget, n + "forgotten", None)
        noted = await engine.invocations("OffloadingMemory/" + n)
        for invocation in noted:
            await engine.over(invocation)
        await engine.purge(*made.values(), *noted)
        assert [len(await engine.keys(run)) for run in made.values()] == [1, 1]
        await engine.sweep()
        assert [len(await engine.keys(run)) for run in made.values()] == [1, 0]
        engine.claims = ClaimCheck(engine.chain, tenant=engine.tenant)
        assert await client.object_call(load, n + "kept", None) == text(n + "kept")


async def test_a_server_that_does_not_answer_ends_the_sweep_before_it_deletes(engine: Engine) -> None:
    payload = text("in nobody's hands").encode()
    await engine.chain.put(payload, Scope(engine.tenant, "inv_gone", engine="restate"))
    found = RestateRuns(engine.server.admin, [engine.tenant])
    lost = RestateRuns(f"http://127.0.0.1:{free_port()}", [engine.tenant])
    before = await engine.keys("inv_gone")
    for live in (lost, found, lost):
        await engine.store.age(timedelta(days=8))
        sweep = sweep_of(engine.store, live, tenants=live.tenants)
        if live is found:
            assert (await sweep.run()).of(Action.MARK).scopes == 1
            continue
        with pytest.raises(CoatcheckError, match="does not answer"):
            await sweep.run()
    assert set(before) < set(await engine.keys("inv_gone"))
    await sweep_of(engine.store, found, tenants=found.tenants).run()
    assert await engine.keys("inv_gone") == []


@pytest.mark.parametrize(
    ("target", "status", "names"),
    [
        ("Tools/plan", "scheduled", ["Memory/k", "inv_caller"]),
        ("Memory/a/b/plan", "inboxed", ["Memory/k", "inv_caller", "Memory/a/b"]),
        ("Memory/a/b/plan", "completed", ["Memory/k"]),
    ],
)
def test_the_caller_of_what_has_not_ended_is_named(target: str, status: str, names: list[str]) -> None:
    row = {"id": "inv_1", "service": "Memory", "key": "k", "status": status}
    row |= {"invoked_by_id": "inv_caller", "invoked_by_target": target}
    assert list(live_runs._of_invocation("tenant", row)) == [
        Scope("tenant", name, engine="restate") for name in names
    ]


async def test_everything_that_has_a_name_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for feature in ("VQUEUES", "SCOPED_VIRTUAL_OBJECTS"):
        monkeypatch.setenv(f"RESTATE_EXPERIMENTAL_ENABLE_{feature}", "true")
    world = HandingOn()
    with serving(tmp_path) as server:
        engine = Engine(server, tmp_path / "payloads")
        async with (
            hosting(server, engine.claims.app(world.services)),
            engine.claims.create_client(server.ingress) as client,
        ):
            await client.scope("blue").object_call(world.h["remember"], "state", text("blue"))
            await client.object_call(world.h["remember"], "b:c", text("none"))
            await engine.purge(*await engine.invocations("HandingMemory"))
            planned = await engine.sent(client, world.h["plan"], "later")
            await engine.purge(planned)
            reviewing = asyncio.create_task(client.workflow_call(world.h["run"], "review", ""))
            await until(partial(engine.knows, "HandingReview/review/run"))
            await client.workflow_call(world.h["decide"], "review", text("verdict"))
            await reviewing
            await engine.purge(*await engine.invocations("HandingReview/review/decide"))
            live = RestateRuns(server.admin, [engine.tenant])
            names = [
                *("blue:HandingMemory/state", "HandingMemory/b:c"),
                *(planned, "HandingMemory/later", "HandingReview/review"),
            ]
            found = {found async for found in live.scopes()}
            assert {one for one in found if isinstance(one, Scope)} == {
                Scope(engine.tenant, name, engine="restate") for name in names
            }
            await engine.sweep()
            for name, key, value in (("blue", "state", "blue"), (None, "b:c", "none")):
                caller = client.scope(name) if name else client
                assert await caller.object_call(world.h["recall"], key, None) == text(value)
