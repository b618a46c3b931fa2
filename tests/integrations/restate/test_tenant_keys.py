"""Keys that a KMS wraps: had from the beginning of an attempt to its end, or the attempt does not begin."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
import restate
from restate import Context, InvocationRetryPolicy, ObjectContext, RunOptions, Service, VirtualObject

from coatcheck import (
    Chain,
    ConfigError,
    Encrypt,
    GoogleKms,
    MemoryStore,
    Offload,
    PayloadCache,
    StoreDenied,
    TenantKeys,
)
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.integrations.restate import ClaimCheck
from tests.engines.google_kms import google_kms
from tests.engines.restate import RestateServer
from tests.integrations.restate.agents import SECRET, text
from tests.integrations.restate.hosting import MODES, Protocol, hosting, until
from tests.integrations.tenant_keys import AGE, KeyWorld

HASTE = InvocationRetryPolicy(initial_interval=timedelta(milliseconds=50))


@dataclass
class World(KeyWorld):
    """One in which handlers do what must not be done twice."""

    async def patiently(self, asking: Coroutine[Any, Any, httpx.Response]) -> httpx.Response:
        """The answer. Other attempts than the first wait for the KMS, which comes back when they have asked for it."""
        task = asyncio.create_task(asking)
        await until(lambda: task.done() or self.refused > 2)
        self.comes_back()
        return await task

    async def charge(self, size: int, *, down: bool) -> str:
        """Something that must not be done twice, and takes longer than a key is held."""
        self.done["charge"] += 1
        if down:
            self.goes_down()
        await asyncio.sleep(1.2 * AGE)
        return text("receipt", size)


@asynccontextmanager
async def worlds() -> AsyncIterator[World]:
    async with google_kms() as kms:
        yield World(kms)


@pytest.mark.parametrize("mode", MODES)
async def test_an_app_seals_under_the_tenants_own_key(restate_server: RestateServer, mode: Protocol) -> None:
    keeper = VirtualObject("Keeper")

    @keeper.handler()
    async def keep(ctx: ObjectContext, value: str) -> int:
        ctx.set("small", value[:100])
        ctx.set("large", value)

        async def again() -> str:
            return value + value

        return len(await ctx.run_typed("again", again))

    async with worlds() as world:
        claims, other = ClaimCheck(world.chain(max_age=300)), world.chain(max_age=300)
        async with (
            other,
            hosting(restate_server, claims.app([keeper], mode), mode),
            ClaimCheck(other).create_client(restate_server.ingress) as client,
        ):
            value = text("value" * 100)
            assert await client.object_call(keep, "k", value) == 2 * len(value)
        rows = await restate_server.query("select value from state where service_name = 'Keeper'")
        assert len(rows) == 2
        assert all(SECRET.encode() not in bytes.fromhex(str(row["value"])) for row in rows)
        # The names key and one tenant's: each made once and unwrapped by both processes.
        assert len([path for path in world.kms.asked if path.endswith("encrypt")]) == 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [100, 200_000], ids=["inline", "offloaded"])
@pytest.mark.parametrize("down", [False, True], ids=["a long step", "the KMS goes down"])
async def test_a_step_that_outlasts_its_key_was_run_again_and_again(
    restate_server: RestateServer, mode: Protocol, size: int, *, down: bool
) -> None:
    shop = Service("Shop")
    async with worlds() as world:

        @shop.handler(invocation_retry_policy=HASTE)
        async def buy(ctx: Context, order: str) -> str:
            # Of a step that is tried twice, one failure of the codec would be taken for a failure of the step.
            options = RunOptions[str](max_attempts=2, type_hint=str)

            async def charge() -> str:
                return await world.charge(size, down=down)

            return order + await ctx.run_typed("charge", charge, options)

        claims = ClaimCheck(world.chain())
        async with (
            hosting(restate_server, claims.app([shop], mode), mode),
            httpx.AsyncClient(base_url=restate_server.ingress, timeout=60) as outside,
        ):
            answer = await world.patiently(outside.post("/Shop/buy", json="order "))
            assert answer.status_code == 200
            assert await claims.open(answer.content) == f'"order {text("receipt", size)}"'.encode()
        assert world.done == {"charge": 1}


@pytest.mark.parametrize("mode", MODES)
async def test_what_the_store_refuses_after_a_long_step_is_still_journaled(
    restate_server: RestateServer, mode: Protocol
) -> None:
    """The payload takes the place of its reference, sealed under the key that the attempt began with."""
    shop = Service("Shop")
    async with worlds() as world:
        store = _Refusing()

        @shop.handler(invocation_retry_policy=HASTE)
        async def buy(ctx: Context, order: str) -> int:
            async def charge() -> str:
                store.refuses = True
                return await world.charge(200_000, down=True)

            receipt = await ctx.run_typed("charge", charge)
            store.refuses = False
            return len(order + receipt)

        keys = TenantKeys(
            world.store,
            GoogleKms(world.kms.new_key(), endpoint_url=world.kms.endpoint),
            label="x",
            max_age=AGE,
        )
        chain = Chain(Encrypt(keys), Offload(store, over=1024, deadline=0.2), cache=PayloadCache(0))
        async with (
            hosting(restate_server, ClaimCheck(chain).app([shop], mode), mode),
            httpx.AsyncClient(base_url=restate_server.ingress, timeout=60) as outside,
        ):
            answer = await world.patiently(outside.post("/Shop/buy", json="order"))
            assert answer.status_code == 200, answer.text
        assert world.done == {"charge": 1}


@pytest.mark.parametrize("mode", MODES)
async def test_an_attempt_whose_key_cannot_be_had_begins_nothing_and_says_why(
    restate_server: RestateServer, mode: Protocol
) -> None:
    shop = Service("Shop")
    async with worlds() as world:

        @shop.handler(invocation_retry_policy=HASTE)
        async def buy(ctx: Context, order: str) -> str:
            world.done["begun"] += 1

            def charge() -> str:
                world.done["charge"] += 1
                return order + " paid"

            return await ctx.run_typed("charge", charge)

        world.goes_down()
        claims = ClaimCheck(world.chain())
        # Registered while the KMS is down: what it has is not a matter of keys.
        async with (
            hosting(restate_server, claims.app([shop], mode), mode),
            httpx.AsyncClient(base_url=restate_server.ingress, timeout=60) as outside,
        ):
            sent = (await outside.post("/Shop/buy/send", json="order")).json()["invocationId"]

            async def said() -> bool:
                found = f"select last_failure from sys_invocation where id = '{sent}'"  # noqa: S608 - ours
                return "KeyServiceError: " in str(await restate_server.query(found))

            await until(said)
            assert not world.done
            world.comes_back()
            async with claims.create_client(restate_server.ingress) as client:
                assert await client.attach(sent) == "order paid"
        assert world.done["charge"] == 1


@pytest.mark.parametrize("mode", MODES)
async def test_a_value_that_cannot_be_read_took_the_results_of_finished_steps_with_it(
    restate_server: RestateServer, mode: Protocol
) -> None:
    shop, done, store = VirtualObject("Shop"), Counter[str](), _Slow()

    @shop.handler(invocation_retry_policy=HASTE)
    async def buy(ctx: ObjectContext, order: str) -> int:
        def charge() -> str:
            done["charge"] += 1
            return text("receipt")

        async def look() -> str:
            await store.asked.wait()
            return await ctx.get("before", type_hint=str) or ""

        receipt, before = await asyncio.gather(ctx.run_typed("charge", charge), look())
        return len(receipt + before + order)

    @shop.handler()
    async def begin(ctx: ObjectContext) -> None:
        ctx.set("before", text("before"))

    chain = Chain(Offload(store, over=1024), cache=PayloadCache(0))
    claims = ClaimCheck(chain)
    async with (
        hosting(restate_server, claims.app([shop], mode), mode),
        httpx.AsyncClient(base_url=restate_server.ingress, timeout=60) as outside,
    ):
        assert (await outside.post(f"/Shop/{mode}/begin")).is_success
        store.is_slow = True
        answer = await outside.post(f"/Shop/{mode}/buy", json="order")
        assert answer.content == str(len(text("receipt") + text("before") + "order")).encode()
    assert done == {"charge": 1}


async def test_a_serde_of_an_app_of_ones_own_holds_the_key_or_refuses_at_once(
    restate_server: RestateServer,
) -> None:
    async with worlds() as world:
        claims = ClaimCheck(world.chain())
        shop = Service("Shop", invocation_context_managers=[claims.holding_keys])

        @shop.handler(invocation_retry_policy=HASTE)
        async def buy(ctx: Context, order: str) -> str:
            async def charge() -> str:
                return await world.charge(100, down=True)

            options = RunOptions[str](serde=claims.serde())
            return order + await ctx.run_typed("charge", charge, options)

        app: Any = restate.app([shop])
        async with (
            hosting(restate_server, app),
            httpx.AsyncClient(base_url=restate_server.ingress, timeout=60) as outside,
        ):
            answer = await outside.post("/Shop/buy", json="order ")
            assert answer.json() == "order " + text("receipt", 100)
        assert world.done == {"charge": 1}
        world.comes_back()
        chain = world.chain()
        await chain.load_keys("default")
        with pytest.raises(ConfigError, match="invocation_context_managers"):
            ClaimCheck(chain).serde().serialize("value")
        with pytest.raises(ConfigError, match="invocation_context_managers"):
            ClaimCheck(chain).journal_value_codec.encode(b"value")


async def test_a_client_opens_the_answer_that_came_after_its_key_was_too_old(
    restate_server: RestateServer,
) -> None:
    """To call once more would do once more what was done."""
    shop = Service("Shop")
    async with worlds() as world:

        @shop.handler()
        async def buy(ctx: Context, order: str) -> str:
            async def charge() -> str:
                return await world.charge(100, down=True)

            return order + await ctx.run_typed("charge", charge)

        async with (
            hosting(restate_server, ClaimCheck(world.chain()).app([shop])),
            ClaimCheck(world.chain()).create_client(restate_server.ingress) as client,
        ):
            assert await client.service_call(buy, "order ") == "order " + text("receipt", 100)


class _Refusing(MemoryStore):
    """Takes nothing while it refuses."""

    refuses = False

    async def create(self, key: str, data: bytes) -> bool:
        if self.refuses:
            raise StoreDenied("it refuses", "Ask again later.")
        return await super().create(key, data)


class _Slow(MemoryStore):
    """Takes what it is given when somebody has asked for something else in vain; but once."""

    def __init__(self) -> None:
        super().__init__()
        self.is_slow = False
        self.asked = asyncio.Event()
        self._opened = asyncio.Event()

    async def create(self, key: str, data: bytes) -> bool:
        if self.is_slow and not self._opened.is_set():
            self.asked.set()
            await self._opened.wait()
        return await super().create(key, data)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        if self.is_slow and not self._opened.is_set():
            self._opened.set()
            raise StoreDenied("it refuses", "Ask again later.")
        return await super().get(key, limit)
