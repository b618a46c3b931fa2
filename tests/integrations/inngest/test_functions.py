"""Every kind of step, for sync and async functions, on both frameworks: results are the same, nothing leaks."""

import asyncio
import json
from typing import Any

import inngest
import pytest
from inngest import Context, ContextSync, StepError

from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, PayloadCache, Zstd
from coatcheck.integrations.inngest import MARKER, claim_check
from tests.chains import KEY, keys_in
from tests.engines.inngest import InngestServer
from tests.integrations.inngest.serving import App, Framework, new_app, served, text, until

SECRET = "attack-at-dawn"
LARGE = 200_000


def chain_of(store: MemoryStore) -> Chain:
    encrypt = Encrypt(Keyring(KEY), accept_plain=False)
    return Chain(Zstd(), encrypt, Offload(store), cache=PayloadCache(64 * 2**20))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def app(inngest_server: InngestServer, store: MemoryStore) -> App:
    return new_app(inngest_server, claim_check(chain_of(store), clear=["order"]))


def document(seed: str) -> dict[str, Any]:
    return {"secret": SECRET, "text": text(LARGE, seed), "1.0": 1.0, "large": 2**60, "nothing": None}


def everything_sync(app: App) -> list[inngest.Function[Any]]:
    @app.client.create_function(fn_id="child", trigger=app.on("child"))
    def child(ctx: ContextSync) -> Any:
        assert ctx.event.data["document"] == document("invoked")
        return document("child")

    @app.client.create_function(fn_id="parent", trigger=app.on("start"))
    def parent(ctx: ContextSync) -> Any:
        assert ctx.event.data == {"order": 7, "document": document("event")}
        assert ctx.events[0].data == ctx.event.data
        first = ctx.step.run("first", lambda: document("first"))
        ctx.step.sleep("sleep", 1000)
        both = ctx.group.parallel(
            (
                lambda: ctx.step.run("a", lambda: document("a")),
                lambda: ctx.step.run("b", lambda: document("b")),
                lambda: ctx.step.invoke("c", function=child, data={"document": document("invoked")}),
            )
        )
        alone = ctx.step.invoke("alone", function=child, data={"document": document("invoked")})
        sent = inngest.Event(name=app.event("sent"), data={"document": document("sent")})
        ids = ctx.step.send_event("send", sent)
        return {"first": first, "both": list(both), "alone": alone, "ids": len(ids), "none": None}

    return [child, parent]


def everything_async(app: App) -> list[inngest.Function[Any]]:
    @app.client.create_function(fn_id="child", trigger=app.on("child"))
    async def child(ctx: Context) -> Any:
        assert ctx.event.data["document"] == document("invoked")
        return document("child")

    @app.client.create_function(fn_id="parent", trigger=app.on("start"))
    async def parent(ctx: Context) -> Any:
        assert ctx.event.data == {"order": 7, "document": document("event")}
        assert ctx.events[0].data == ctx.event.data

        async def made(seed: str) -> Any:
            return document(seed)

        first = await ctx.step.run("first", made, "first")
        await ctx.step.sleep("sleep", 1000)
        both = await ctx.group.parallel(
            (
                lambda: ctx.step.run("a", made, "a"),
                lambda: ctx.step.run("b", made, "b"),
                lambda: ctx.step.invoke("c", function=child, data={"document": document("invoked")}),
            )
        )
        alone = await ctx.step.invoke("alone", function=child, data={"document": document("invoked")})
        sent = inngest.Event(name=app.event("sent"), data={"document": document("sent")})
        ids = await ctx.step.send_event("send", sent)
        return {"first": first, "both": list(both), "alone": alone, "ids": len(ids), "none": None}

    return [child, parent]


@pytest.mark.parametrize("make", [everything_async, everything_sync])
@pytest.mark.parametrize("framework", ["fastapi", "flask"])
async def test_every_kind_of_step(app: App, store: MemoryStore, make: Any, framework: Framework) -> None:
    event = inngest.Event(name=app.event("start"), data={"order": 7, "document": document("event")})
    async with served(app, make(app), framework):
        [sent] = await app.client.send(event)
        [run] = await app.server.runs_of(sent)
    assert event.data == {"order": 7, "document": document("event")}
    assert run["status"] == "Completed", run
    check = claim_check(chain_of(store))
    assert await check.unwrap(run["output"]) == {
        "first": document("first"),
        "both": [document("a"), document("b"), document("child")],
        "alone": document("child"),
        "ids": 1,
        "none": None,
    }
    assert SECRET.encode() not in app.wire.everything
    requests = app.wire.of(run["run_id"])
    assert all(set(request["event"]["data"]) == {"order", MARKER} for request in requests)
    assert max(map(len, app.wire.requests)) < 10_000
    assert max(map(len, app.wire.answers)) < 3_000


async def test_an_approval_gate_with_a_large_payload(app: App) -> None:
    @app.client.create_function(fn_id="gate", trigger=app.on("ask"))
    async def gate(ctx: Context) -> Any:
        async def drafted() -> Any:
            return document("draft")

        draft = await ctx.step.run("draft", drafted)
        approval = await ctx.step.wait_for_event(
            "approval",
            event=app.event("approve"),
            if_exp="event.data.order == async.data.order",
            timeout=30_000,
        )
        late = await ctx.step.wait_for_event("late", event=app.event("never"), timeout=1_000)
        assert late is None
        assert approval is not None
        return [draft == document("draft"), approval.data]

    async with served(app, [gate]):
        sent = await app.send("ask", order=42)
        await until(lambda: any(b"WaitForEvent" in answer for answer in app.wire.answers))
        await app.send("approve", order=41, document="another order")
        # The server says nowhere that it now waits; whoever approves too early approves once more.
        async with asyncio.timeout(60):
            while len(app.wire.requests) < 3:
                await app.send("approve", order=42, document=document("approval"))
                await app.server.started_by(sent)
        [run] = await app.server.runs_of(sent)
        output = await claim_check_of(app).unwrap(run["output"])
    assert output == [True, {"order": 42, "document": document("approval")}]
    assert SECRET.encode() not in app.wire.everything


def claim_check_of(app: App) -> Any:
    [check] = app.client.middleware
    return check


async def test_one_event_fans_out(app: App, store: MemoryStore) -> None:
    def worker(number: int) -> inngest.Function[Any]:
        @app.client.create_function(fn_id=f"worker-{number}", trigger=app.on("work"))
        async def work(ctx: Context) -> Any:
            return {"number": number, "length": len(str(ctx.event.data["document"]))}

        return work

    async with served(app, [worker(number) for number in range(3)]):
        runs = await app.server.runs_of(await app.send("work", document=document("shared")), count=3)
    outputs = [await claim_check_of(app).unwrap(run["output"]) for run in runs]
    assert sorted(output["number"] for output in outputs) == [0, 1, 2]
    # One event, one object, whoever reads it.
    assert len(await keys_in(store)) == 1


async def test_a_batch_of_events(app: App) -> None:
    @app.client.create_function(
        fn_id="batch",
        batch_events=inngest.Batch(max_size=3, timeout=10_000),
        trigger=app.on("item"),
    )
    async def batch(ctx: Context) -> Any:
        return [event.data["document"] == document(str(event.data["order"])) for event in ctx.events]

    async with served(app, [batch]):
        for number in range(3):
            await app.send("item", order=number, document=document(str(number)))
        # The dev server lists such a run under one of its events only, not always the first.
        await until(lambda: bool(app.wire.answers))
    assert await claim_check_of(app).unwrap(json.loads(app.wire.answers[0])) == [True, True, True]


async def test_retries_and_on_failure(app: App) -> None:
    failures: list[Any] = []
    caught: list[Any] = []
    tries: list[int] = []

    async def on_failure(ctx: Context) -> Any:
        data: Any = ctx.event.data
        failures.append((data["event"]["data"], data["error"]["message"], data["error"]["name"]))

    @app.client.create_function(fn_id="fails", retries=1, trigger=app.on("fail"), on_failure=on_failure)
    async def fails(ctx: Context) -> Any:
        async def flaky() -> Any:
            tries.append(ctx.attempt)
            if ctx.attempt == 0:
                raise ValueError(f"not yet: {SECRET}")
            return document("flaky")

        async def hopeless() -> Any:
            raise KeyError(SECRET)

        assert await ctx.step.run("flaky", flaky) == document("flaky")
        try:
            await ctx.step.run("hopeless", hopeless)
        except StepError as error:
            caught.append((error.name, error.message))
        raise inngest.NonRetriableError(f"given up: {SECRET}")

    async with served(app, [fails]):
        run = await app.run("fail", order=1, document=document("event"))
        await until(lambda: bool(failures))
    assert run["status"] == "Failed"
    assert tries == [0, 1]
    assert ("KeyError", f"'{SECRET}'") in caught
    assert failures == [
        ({"order": 1, "document": document("event")}, f"given up: {SECRET}", "NonRetriableError")
    ]
    assert SECRET.encode() not in app.wire.everything


async def test_a_child_that_fails(app: App) -> None:
    @app.client.create_function(fn_id="child", retries=0, trigger=app.on("child"))
    def child(ctx: ContextSync) -> Any:
        raise RuntimeError(SECRET)

    @app.client.create_function(fn_id="parent", trigger=app.on("parent"))
    def parent(ctx: ContextSync) -> Any:
        try:
            ctx.step.invoke("child", function=child)
        except StepError as error:
            return [error.name, error.message]

    async with served(app, [child, parent]):
        run = await app.run("parent")
    assert await claim_check_of(app).unwrap(run["output"]) == ["RuntimeError", SECRET]
    assert SECRET.encode() not in app.wire.everything


async def test_a_run_is_cancelled_by_an_event(app: App) -> None:
    cancel = inngest.Cancel(event=app.event("cancel"), if_exp="event.data.order == async.data.order")

    @app.client.create_function(fn_id="long", cancel=[cancel], trigger=app.on("begin"))
    async def long(ctx: Context) -> Any:
        await ctx.step.sleep("long", 60_000)

    async with served(app, [long]):
        sent = await app.send("begin", order=3, document=document("event"))
        await until(lambda: bool(app.wire.answers))
        await app.send("cancel", order=3, document=document("why"))
        [run] = await app.server.runs_of(sent)
    assert run["status"] == "Cancelled"
