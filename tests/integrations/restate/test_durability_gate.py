"""Nothing that refers to an object leaves the process before the object is durable, whatever the store does."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import httpx
import pytest
from restate import HttpError, InvocationRetryPolicy, ObjectContext, RunOptions, VirtualObject
from restate.exceptions import SdkInternalException

from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, PayloadCache, Scope, Zstd
from coatcheck.integrations.restate import ClaimCheck
from coatcheck.integrations.restate import durability_gate as barrier
from coatcheck.integrations.restate.codec import ClaimCheckCodec
from coatcheck.integrations.restate.durability_gate import Message
from coatcheck.pipeline.upload import Upload
from tests.chains import KEY, SCOPE, keys_in
from tests.engines.restate import RestateServer
from tests.integrations.restate.agents import World, text
from tests.integrations.restate.hosting import MODES, Protocol, hosting, until
from tests.integrations.restate.watching import FaultyStore, Watched

JSON = {"content-type": "application/json"}
HASTE = 0.05
"""Seconds that a call to the store may take with all its attempts."""
WRITES = 9
"""Objects that one run of ``work`` makes, at most."""


def chain_on(store: MemoryStore, cache: int = 0, deadline: float = HASTE, **options: Any) -> Chain:
    return Chain(
        Zstd(),
        Encrypt(Keyring(KEY)),
        Offload(store, over=256, deadline=deadline),
        cache=PayloadCache(cache),
        **options,
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("healthy", range(WRITES))
async def test_a_store_that_takes_nothing_more_stops_nothing(
    restate_server: RestateServer, mode: Protocol, healthy: int
) -> None:
    world, store = World(), FaultyStore(healthy)
    claims = ClaimCheck(chain_on(store))
    app = Watched(claims.app(world.services, protocol=mode), store)
    async with (
        hosting(restate_server, app, mode),
        claims.create_client(restate_server.ingress) as client,
    ):
        assert await client.service_call(world.h["work"], text("task")) == world.work_of(text("task"))
    assert app.dangling == []
    assert set(world.actions.values()) == {1}, "an action was run again"
    if healthy < WRITES - 2:
        assert app.inline, "what the store did not take stands in the journal"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("healthy", range(0, WRITES, 2))
async def test_a_store_that_is_gone_altogether_only_delays(
    restate_server: RestateServer, mode: Protocol, healthy: int
) -> None:
    """Values that are in it cannot be read: attempts fail, none for good, and all is well when it comes back."""
    world, store = World(), FaultyStore(healthy, reads_die=True)
    app = Watched(ClaimCheck(chain_on(store)).app(world.services, protocol=mode), store)
    # Nobody tries again for a client: it waits as long as the store is gone.
    outside = ClaimCheck(chain_on(store, deadline=60))
    async with (
        hosting(restate_server, app, mode),
        outside.create_client(restate_server.ingress) as client,
    ):
        running = asyncio.create_task(client.service_call(world.h["work"], text("task")))
        await until(lambda: running.done() or store.refused >= 4)
        store.revive()
        assert await running == world.work_of(text("task"))
    assert app.dangling == []


async def test_an_input_that_cannot_be_read_now_does_not_end_the_invocation(
    restate_server: RestateServer,
) -> None:
    world, store = World(), FaultyStore(reads_die=True)
    chain = chain_on(store)
    task = await chain.encode(f'"{text("input")}"'.encode(), Scope("default"))
    store.kill()
    async with (
        hosting(restate_server, ClaimCheck(chain).app(world.services)),
        httpx.AsyncClient(base_url=restate_server.ingress) as outside,
    ):
        sent = (await outside.post("/Tools/tool/send", content=task, headers=JSON)).json()["invocationId"]

        async def failed() -> bool:
            return "StoreUnavailable: it is dead" in await _invocation(restate_server, sent, "last_failure")

        async def completed() -> bool:
            return await _invocation(restate_server, sent, "status") == "completed"

        await until(failed)
        assert not world.actions
        store.revive()
        await until(completed)
        assert world.actions.total() == 1


async def test_what_the_journal_cannot_take_waits_for_the_store(
    restate_server: RestateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(barrier, "MOST_INLINE", 1000)
    monkeypatch.setattr(barrier, "_PAUSE", 0.01)
    world, store = World(), FaultyStore()
    store.kill()
    claims = ClaimCheck(chain_on(store))
    app = Watched(claims.app(world.services), store)
    async with (
        hosting(restate_server, app),
        claims.create_client(restate_server.ingress) as client,
    ):
        running = asyncio.create_task(client.service_call(world.h["large"], 10_000))
        await until(lambda: store.refused >= 20)
        assert not running.done()
        store.revive()
        assert await running == len(text("large", 10_000))
    assert (app.dangling, app.inline) == ([], 1), "only the length, which is the result, is small enough"
    assert world.actions == {"large": 1}


async def test_what_is_too_large_for_the_chain_ends_the_invocation_instead_of_running_a_step_for_ever(
    restate_server: RestateServer,
) -> None:
    world = World()
    claims = ClaimCheck(chain_on(MemoryStore(), max_payload=20_000))
    async with (
        hosting(restate_server, claims.app(world.services)),
        claims.create_client(restate_server.ingress) as client,
    ):
        with pytest.raises(HttpError, match="413"):
            await client.service_call(world.h["large"], 50_000)
    assert world.actions == {"large": 1}


@pytest.mark.parametrize("mode", MODES)
async def test_a_replay_makes_no_new_object_and_runs_no_step(
    restate_server: RestateServer, mode: Protocol
) -> None:
    service, failures = VirtualObject("Stumbling"), iter(range(5))
    steps: Counter[int] = Counter()

    def step(number: int) -> str:
        steps[number] += 1
        return text(f"step {number}")

    @service.handler(
        invocation_retry_policy=InvocationRetryPolicy(initial_interval=timedelta(milliseconds=10))
    )
    async def stumble(ctx: ObjectContext, start: str) -> str:
        told = start
        for number in range(5):
            told += await ctx.run_typed("step", step, RunOptions(type_hint=str), number)
            ctx.set("told", told)
            if next(failures, None) is not None:
                raise RuntimeError("it stumbles")
        return told

    store = FaultyStore()
    claims = ClaimCheck(chain_on(store))
    async with (
        hosting(restate_server, claims.app([service], protocol=mode), mode),
        claims.create_client(restate_server.ingress) as client,
    ):
        told = await client.object_call(stumble, mode, text("start"))
    assert told == text("start") + "".join(text(f"step {number}") for number in range(5))
    assert steps == dict.fromkeys(range(5), 1)
    # The input, the steps, and the state after each; the last state is the output as well.
    assert len(await keys_in(store)) == store.writes == 1 + 5 + 5


def upload_on(chain: Chain) -> Upload:
    upload = chain.begin_upload(b"payload", SCOPE, always=True)
    assert isinstance(upload, Upload)
    return upload


async def test_what_was_taken_from_the_sdk_is_sent_in_order_even_if_who_sent_it_is_cancelled() -> None:
    store, sent = _Gate(), []

    async def send(message: Message) -> None:
        sent.append(message["body"])

    chain = chain_on(store)
    held = barrier.DurabilityGate(_never, send, [])
    reference = held.begin(upload_on(chain))
    assert held.being_written(reference) == b"payload"
    first = asyncio.create_task(held.send({"type": "http.response.body", "body": b"1", "more_body": True}))
    await store.asked.wait()
    second = asyncio.create_task(held.send({"type": "http.response.body", "body": b"2", "more_body": True}))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert sent == []
    store.opened.set()
    await second
    assert sent == [b"1", b"2"]
    assert held.being_written(reference) is None
    await held.close()


async def test_when_the_server_has_gone_nothing_is_sent_and_nothing_is_left_behind() -> None:
    store, sent = _Gate(), []

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    chain = chain_on(store)
    held = barrier.DurabilityGate(gone, send, [])
    held.begin(upload_on(chain))
    waiting = asyncio.create_task(held.send({"type": "http.response.body", "body": b"1", "more_body": True}))
    await store.asked.wait()
    await held.receive()
    with pytest.raises(SdkInternalException):
        await waiting
    await held.close()
    assert sent == []
    assert len(asyncio.all_tasks()) == 1


async def test_outside_of_an_attempt_nothing_is_offloaded() -> None:
    store = FaultyStore()
    chain = chain_on(store)
    codec = ClaimCheckCodec(chain, "default")
    data = text("data").encode()
    encoded = codec.encode(data)
    assert store.writes == 0
    assert await codec.decode(encoded) == data
    assert codec.encode(b"") == b""
    assert await codec.decode(b"") == b""
    assert await codec.decode(b'{"plain": true}') == b'{"plain": true}'


class _Gate(MemoryStore):
    """Takes nothing before it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.opened = asyncio.Event()

    async def create(self, key: str, data: bytes) -> bool:
        self.asked.set()
        await self.opened.wait()
        return await super().create(key, data)


async def _never() -> Message:
    raise AssertionError("nobody reads")


async def _invocation(server: RestateServer, invocation: str, column: str) -> str:
    rows = await server.query(f"select {column} from sys_invocation where id = '{invocation}'")  # noqa: S608 - ours
    return str(rows[0].get(column) or "") if rows else ""
