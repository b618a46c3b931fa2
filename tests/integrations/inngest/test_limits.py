"""Long agents: what a run comes to, what goes over the wire for it, and what is asked of the store."""

import logging
from typing import Any

import inngest
import pytest
from inngest import Context

from benchmarks.loads.counted import Counted
from coatcheck import Chain, ConfigError, Encrypt, Keyring, MemoryStore, Offload, PayloadCache, Zstd
from coatcheck.integrations.inngest import claim_check
from tests.chains import KEY, keys_in, plain_chain
from tests.engines.inngest import InngestServer
from tests.integrations.inngest.serving import App, new_app, served, text

STEPS = 30
SIZE = 1_150_000
"""Characters of each step's result: 30 of them are above the 32 MiB that a run may come to."""


def agent(app: App, steps: int = STEPS, size: int = SIZE) -> inngest.Function[Any]:
    @app.client.create_function(fn_id="agent", retries=1, trigger=app.on("go"))
    async def agent(ctx: Context) -> Any:
        lengths = []
        for number in range(steps):

            async def thought(number: int = number) -> str:
                if number == steps // 2 and ctx.attempt == 0:
                    raise ValueError("once more")
                return text(size, str(number))

            said = await ctx.step.run(f"think-{number}", thought)
            assert said == text(size, str(number))
            lengths.append(len(said))
        return sum(lengths)

    return agent


async def test_an_agent_that_breaks_the_cap_completes(inngest_server: InngestServer) -> None:
    stored = MemoryStore()
    store = Counted(stored)
    cache = PayloadCache(64 * 2**20)
    chain = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store), cache=cache)
    check = claim_check(chain)
    app = new_app(inngest_server, check)
    async with served(app, [agent(app)]):
        run = await app.run("go")
    assert run["status"] == "Completed", run
    assert await check.unwrap(run["output"]) == STEPS * SIZE
    requests = [request for request in app.wire.requests if run["run_id"].encode() in request]
    assert len(requests) == STEPS + 2
    # Plain, the last request would have all results in it.
    assert len(requests[-1]) <= STEPS * SIZE / 100
    # The process that made them never fetches them, and what was tried twice is there once.
    assert store.requests["gets"] == 0
    assert store.requests["puts"] == len(await keys_in(stored)) == STEPS
    report = check.step_report(run["run_id"])
    assert (report.steps, report.executions, report.retries) == (STEPS, STEPS + 2, 1)
    assert report.state < 10_000
    assert report.received < STEPS * 10_000


@pytest.mark.long
async def test_a_plain_one_does_not(inngest_server: InngestServer) -> None:
    app = new_app(inngest_server)
    async with served(app, [agent(app)]):
        run = await app.run("go")
    assert run["status"] == "Failed"


async def test_a_fresh_process_fetches_each_object_once(inngest_server: InngestServer) -> None:
    stored = MemoryStore()
    first = claim_check(chain_on(stored))
    store = Counted(stored)
    fresh = claim_check(chain_on(store))
    used = 0

    def one_after_the_other(client: inngest.Inngest, raw: object) -> inngest.MiddlewareSync:
        """Half of the run is served by one process, and the rest by another one."""
        nonlocal used
        used += 1
        return (first if used <= 12 else fresh)(client, raw)

    app = new_app(inngest_server, one_after_the_other)
    async with served(app, [agent(app, steps=20, size=60_000)]):
        # The event that starts it is sent through the middleware as well.
        run = await app.run("go")
    assert run["status"] == "Completed", run
    assert await first.unwrap(run["output"]) == 20 * 60_000
    assert 0 < len(store.asked) <= len(await keys_in(stored)) == 20
    assert set(store.asked.values()) == {1}


def chain_on(store: Any) -> Chain:
    return Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store), cache=PayloadCache(64 * 2**20))


async def test_when_room_becomes_scarce_small_values_go_too(inngest_server: InngestServer) -> None:
    store = MemoryStore()
    check = claim_check(plain_chain(store, over=4096), over=4096, limit=20_000)
    app = new_app(inngest_server, check)

    @app.client.create_function(fn_id="small", trigger=app.on("go"))
    async def small(ctx: Context) -> Any:
        for number in range(20):

            async def note(number: int = number) -> str:
                return text(5_000, str(number))

            assert await ctx.step.run(f"note-{number}", note) == text(5_000, str(number))
        return True

    async with served(app, [small]):
        run = await app.run("go")
    assert run["status"] == "Completed", run
    state = check.step_report(run["run_id"]).state
    assert 10_000 < state < 20_000
    assert 0 < len(await keys_in(store)) < 20


async def test_the_threshold_is_of_what_the_journal_holds(inngest_server: InngestServer) -> None:
    chain = chain_on(MemoryStore())
    check = claim_check(chain, over=600)
    for size in range(0, 2_000, 50):
        value = text(size * 10, str(size))
        sealed = await check.wrap(value)
        [journal] = sealed.values()
        assert len(journal) + len('{"__coatcheck__":""}') <= 600
        assert await check.unwrap(sealed) == value


@pytest.mark.parametrize("limit", [0, -1, "heroku"])
def test_a_limit_that_is_none(limit: Any) -> None:
    with pytest.raises(ConfigError, match="is not a limit for a run"):
        claim_check(plain_chain(), limit=limit)


def test_a_field_that_cannot_stay_in_the_clear() -> None:
    with pytest.raises(ConfigError, match="no field"):
        claim_check(plain_chain(), clear=["__coatcheck__"])


async def test_the_report_is_logged(inngest_server: InngestServer, caplog: pytest.LogCaptureFixture) -> None:
    check = claim_check(plain_chain())
    app = new_app(inngest_server, check)

    with caplog.at_level(logging.INFO, "coatcheck.inngest"):
        async with served(app, [agent(app, steps=2, size=1_000)]):
            run = await app.run("go")
    assert f"run {run['run_id']}: 2 steps in 4 executions, 1 of them retries" in caplog.text
