"""A step is done when its result is sealed: whatever fails then must not have it done again."""

import asyncio
import logging
import re
import threading
from collections import Counter
from typing import Any

import inngest
import pytest
from inngest import Context, ContextSync

from coatcheck import (
    Chain,
    ConfigError,
    Encrypt,
    GoogleKms,
    KeyUnavailable,
    MemoryStore,
    Offload,
    PayloadCache,
    StoreDenied,
    StoreUnavailable,
    TenantKeys,
)
from coatcheck.integrations.inngest import ClaimCheck, claim_check, payloads
from coatcheck.runtime.portal import run_blocking
from tests.chains import encrypted_chain
from tests.engines.google_kms import google_kms
from tests.engines.inngest import InngestServer
from tests.integrations.inngest.serving import App, closing, new_app, served, text, until

AGE = 1.0
"""Seconds that a key is held: no less can be set."""
KINDS = ["async", "sync"]


class _Failing(MemoryStore):
    """Takes nothing while it fails."""

    failure: Exception | None = None
    asked = 0

    def _ask(self) -> None:
        if self.failure is not None:
            self.asked += 1
            raise self.failure

    async def create(self, key: str, data: bytes) -> bool:
        self._ask()
        return await super().create(key, data)

    async def replace(self, key: str, data: bytes) -> None:
        self._ask()
        await super().replace(key, data)


def charging(app: App, kind: str, charge: Any) -> tuple[inngest.Function[Any], Counter[str]]:
    """A function with one step that must not be done twice."""
    done: Counter[str] = Counter()

    def charged() -> Any:
        done["charge"] += 1
        return charge()

    async def charged_async() -> Any:
        done["charge"] += 1
        return await asyncio.to_thread(charge)

    if kind == "sync":

        @app.client.create_function(fn_id="buy", retries=3, trigger=app.on("buy"))
        def buy_sync(ctx: ContextSync) -> Any:
            return ctx.step.run("charge", charged)

        return buy_sync, done

    @app.client.create_function(fn_id="buy", retries=3, trigger=app.on("buy"))
    async def buy(ctx: Context) -> Any:
        return await ctx.step.run("charge", charged_async)

    return buy, done


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [100, 200_000], ids=["small", "large"])
async def test_a_step_that_outlasts_its_key_was_done_again_and_again(
    inngest_server: InngestServer, kind: str, size: int
) -> None:
    async with google_kms() as kms:
        keys = TenantKeys(
            MemoryStore(),
            GoogleKms(kms.new_key(), endpoint_url=kms.endpoint),
            label="test",
            max_age=AGE,
            deadline=5.0,
        )
        chain = Chain(Encrypt(keys), Offload(MemoryStore(), over=1024), cache=PayloadCache(0))
        check = claim_check(chain)
        app = new_app(inngest_server, check)

        def charge() -> Any:
            kms.fault = lambda _: kms.error(503)
            threading.Event().wait(1.2 * AGE)
            # A value that is sealed by hand, after the fact.
            return {"text": text(size), "sealed": check.wrap_sync("by hand")}

        buy, done = charging(app, kind, charge)
        async with served(app, [buy]):
            sent = await app.send("buy")
            # It comes back when the step is over, as far as its request goes; the other requests need it.
            await until(lambda: bool(app.wire.answers))
            kms.fault = lambda _: None
            [run] = await app.server.runs_of(sent)
        assert run["status"] == "Completed", run
        output = await check.unwrap(run["output"])
        assert output["text"] == text(size)
        assert await check.unwrap(output["sealed"]) == "by hand"
        assert done == {"charge": 1}
        await chain.close()


async def test_a_request_whose_key_cannot_be_had_begins_nothing_and_says_why(
    inngest_server: InngestServer,
) -> None:
    async with google_kms() as kms:
        service = GoogleKms(kms.new_key(), endpoint_url=kms.endpoint)
        keys = TenantKeys(MemoryStore(), service, label="test", deadline=1.0)
        chain = Chain(Encrypt(keys), cache=PayloadCache(0))
        app = new_app(inngest_server, claim_check(chain))
        outside = new_app(inngest_server, name=app.name)
        begun: list[int] = []

        @app.client.create_function(fn_id="buy", retries=1, trigger=app.on("buy"))
        async def buy(ctx: Context) -> None:
            begun.append(ctx.attempt)

        kms.fault = lambda _: kms.error(503)
        async with served(app, [buy]), closing(outside), chain:
            run = await outside.run("buy", order=1)
        assert (run["status"], begun) == ("Failed", [])
        assert re.search("answers 503|key service", run["output"]["message"]), run


@pytest.mark.parametrize("kind", KINDS)
async def test_what_the_store_did_not_take_was_done_again(
    inngest_server: InngestServer, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = _Failing()
    check = claim_check(encrypted_chain(store))
    app = new_app(inngest_server, check)

    def charge() -> Any:
        store.failure = StoreDenied("it refuses", "Allow it.")
        return text(100_000)

    buy, done = charging(app, kind, charge)
    async with served(app, [buy]):
        run = await app.run("buy")
    assert run["status"] == "Completed", run
    assert await check.unwrap(run["output"]) == text(100_000)
    assert done == {"charge": 1}
    assert "is kept in the run state, since the store does not accept it: it refuses" in caplog.text


async def test_a_failure_for_good_was_retried_since_the_store_did_not_take_its_message(
    inngest_server: InngestServer,
) -> None:
    store = _Failing()
    check = claim_check(encrypted_chain(store))
    app = new_app(inngest_server, check)

    def charge() -> Any:
        store.failure = StoreDenied("it refuses", "Allow it.")
        raise inngest.NonRetriableError(text(100_000))

    buy, done = charging(app, "async", charge)
    async with served(app, [buy]):
        run = await app.run("buy")
    assert run["status"] == "Failed"
    assert await check.unwrap(run["output"]["message"]) == text(100_000)
    assert done == {"charge": 1}


async def test_what_is_too_large_for_the_run_state_waits_for_the_store(
    inngest_server: InngestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payloads, "_MOST_INLINE", 10_000)
    monkeypatch.setattr(payloads, "_PAUSE", 0.01)
    store = _Failing()
    check = claim_check(
        Chain(
            *encrypted_chain(store)._steps[:2], Offload(store, over=256, deadline=0.05), cache=PayloadCache(0)
        )
    )
    app = new_app(inngest_server, check)

    def charge() -> Any:
        store.failure = StoreUnavailable("it is away", "Wait.")
        return text(1_000_000)

    buy, done = charging(app, "async", charge)
    async with served(app, [buy]):
        sent = await app.send("buy")
        async with asyncio.timeout(60):
            while store.asked < 5:  # noqa: ASYNC110 - the server's thread knows no event of this loop
                await asyncio.sleep(0.02)
        store.failure = None
        [run] = await app.server.runs_of(sent)
    assert await check.unwrap(run["output"]) == text(1_000_000)
    assert done == {"charge": 1}


async def test_what_coatcheck_says_itself_was_sealed_under_the_key_that_was_wrong(
    inngest_server: InngestServer,
) -> None:
    check = claim_check(encrypted_chain())
    app = new_app(inngest_server, check)

    @app.client.create_function(fn_id="f", retries=0, trigger=app.on("go"))
    async def fails(ctx: Context) -> None:
        async def step() -> None:
            raise KeyUnavailable("the key abcd is not in the keyring", "Add it.")

        await ctx.step.run("step", step)

    @app.client.create_function(fn_id="g", retries=0, trigger=app.on("other"))
    async def fails_otherwise(ctx: Context) -> None:
        ours = KeyUnavailable("the key abcd is not in the keyring", "Add it.")
        raise ValueError(f"secret, {ctx.run_id}") from ours

    async with served(app, [fails, fails_otherwise]):
        await app.run("go")
        assert b"the key abcd is not in the keyring. Add it." in app.wire.everything
        run = await app.run("other")
        assert await check.unwrap(run["output"]["message"]) == f"secret, {run['run_id']}"
        assert b"secret" not in app.wire.everything


class _Busy(MemoryStore):
    """Takes nothing on one event loop before it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.opened = asyncio.Event()
        self.waiting = 0

    async def replace(self, key: str, data: bytes) -> None:
        if asyncio.get_running_loop() is self.loop:
            self.waiting += 1
            await self.opened.wait()
        await super().replace(key, data)


async def _on_a_busy_loop(check: ClaimCheck, store: _Busy, work: Any) -> Any:
    """Call something that blocks while as many uploads are under way as the store has places for."""
    store.loop = asyncio.get_running_loop()
    uploads = [asyncio.create_task(check.wrap(text(50_000, str(number)))) for number in range(70)]
    async with asyncio.timeout(60):
        while store.waiting < 64:  # noqa: ASYNC110 - it is counted in another place
            await asyncio.sleep(0.01)
    done = work()
    store.opened.set()
    await asyncio.gather(*uploads)
    return done


@pytest.mark.parametrize("how", ["wrap_sync", "send_sync"])
async def test_a_call_that_blocks_waited_for_the_loop_that_it_blocked(
    inngest_server: InngestServer, how: str
) -> None:
    store = _Busy()
    check = claim_check(encrypted_chain(store))
    app = new_app(inngest_server, check)
    event = inngest.Event(name=app.event("go"), data={"text": text(50_000, "sync")})
    results: list[Any] = []

    def work() -> Any:
        return check.wrap_sync(text(50_000, "sync")) if how == "wrap_sync" else app.client.send_sync(event)

    thread = threading.Thread(
        target=lambda: results.append(asyncio.run(_on_a_busy_loop(check, store, work))), daemon=True
    )
    async with closing(app):
        thread.start()
        await asyncio.to_thread(thread.join, 30)
    assert len(results) == 1, "it hangs"
    if how == "wrap_sync":
        assert check.unwrap_sync(results[0]) == text(50_000, "sync")


def test_whoever_would_wait_for_himself_is_told_so() -> None:
    check = claim_check(encrypted_chain())

    async def inside() -> None:
        check.wrap_sync("value")

    with pytest.raises(ConfigError, match="Use the asynchronous method"):
        run_blocking(inside())


async def test_the_end_of_a_run_was_told_at_each_of_its_failures(
    inngest_server: InngestServer, caplog: pytest.LogCaptureFixture
) -> None:
    check = claim_check(encrypted_chain())
    app = new_app(inngest_server, check)

    @app.client.create_function(fn_id="late", retries=3, trigger=app.on("late"))
    async def late(ctx: Context) -> None:
        if ctx.attempt < 2:
            raise ValueError("not yet")

    @app.client.create_function(fn_id="never", retries=2, trigger=app.on("never"))
    async def never(ctx: Context) -> None:
        raise ValueError("never")

    @app.client.create_function(fn_id="final", retries=2, trigger=app.on("final"))
    async def final(ctx: Context) -> None:
        raise inngest.NonRetriableError("once")

    with caplog.at_level(logging.INFO, "coatcheck.inngest"):
        async with served(app, [late, never, final]):
            for kind, executions in (("late", 3), ("never", 3), ("final", 1)):
                run = await app.run(kind)
                [said] = [line for line in caplog.messages if run["run_id"] in line]
                assert f"in {executions} executions" in said
                assert check.step_report(run["run_id"]).ended
