"""Sweeps of runs that the operator does not list, or by age: what is live goes on, and what was handed on stays."""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import inngest
import pytest
from inngest import Context

from coatcheck import ConfigError, FileStore, Scope
from coatcheck.integrations.inngest import claim_check
from coatcheck.integrations.inngest.live_runs import ListedRuns
from coatcheck.retention.live import LiveRuns
from coatcheck.retention.rules import RetentionRules
from coatcheck.storage.prefixes import ScopePrefixes
from tests.engines.inngest import InngestServer
from tests.engines.inngest_executor import new_id
from tests.integrations.inngest.serving import App, new_app, served, text, until
from tests.retention.aged_store import AgedStore
from tests.retention.sweeping import GRACE, LONG, RULES, TENANT, chain_on, keys_of, sweep_of

SIZE = 50_000


def functions(app: App, seen: set[str]) -> list[inngest.Function[Any]]:
    """One that asks the other, and then waits for somebody."""

    async def made(seed: str) -> str:
        return text(SIZE, seed)

    @app.client.create_function(fn_id="helper", trigger=app.on("ask"))
    async def helper(ctx: Context) -> Any:
        return await ctx.step.run("answer", made, "answer")

    @app.client.create_function(fn_id="agent", trigger=app.on("start"))
    async def agent(ctx: Context) -> Any:
        thought = await ctx.step.run("think", made, "thought")
        answer = await ctx.step.invoke("ask", function=helper, data={"text": text(SIZE, "question")})
        seen.add(ctx.run_id)
        approval = await ctx.step.wait_for_event("wait", event=app.event("approve"), timeout=3_600_000)
        assert approval is not None
        return [ctx.event.data["text"], thought, answer, approval.data["text"]]

    return [helper, agent]


async def keys(store: AgedStore, run: str | None) -> list[str]:
    return await keys_of(
        store, await ScopePrefixes(chain_on(store).sealings).of(Scope(TENANT, run, engine="inngest"))
    )


async def sweep(store: AgedStore, live: LiveRuns | None, rules: RetentionRules = RULES) -> None:
    """Twice, with time to get old before each."""
    for _ in range(2):
        await store.age(LONG)
        await sweep_of(store, live, rules=rules, engine="inngest").run()


async def test_a_run_that_is_listed_goes_on_and_what_others_gave_it_stays(
    inngest_server: InngestServer, tmp_path: Path
) -> None:
    store, seen = AgedStore(FileStore(tmp_path)), set[str]()
    chain = chain_on(store)
    app = new_app(inngest_server, claim_check(chain, tenant=TENANT))
    async with served(app, functions(app, seen)):
        sent = await app.send("start", text=text(SIZE, "start"))
        run = await inngest_server.started_by(sent)
        ended = (await app.run("ask", text=text(SIZE, "question")))["run_id"]
        await until(lambda: run in seen)
        kept = sorted(await keys(store, run) + await keys(store, None))
        everything = await keys_of(store)
        assert await keys(store, run)
        assert await keys(store, ended)
        await sweep(store, ListedRuns([f"{run}\n", "\n"], [TENANT]))
        assert sorted(await keys_of(store)) == kept
        assert len(everything) == len(kept) + 2, "the answers of both runs of the helper"

        chain.cache.clear()
        await app.send("approve", text=text(SIZE, "because"))
        [done] = await inngest_server.runs_of(sent)
    assert done["status"] == "Completed", done
    output = await claim_check(chain_on(store), tenant=TENANT).unwrap(done["output"])
    assert output == [text(SIZE, seed) for seed in ("start", "thought", "answer", "because")]


async def test_age_alone_frees_what_is_older_than_any_run(tmp_path: Path) -> None:
    store = AgedStore(FileStore(tmp_path))
    old, young = new_id(), new_id()
    rules = RetentionRules(grace=GRACE, idle=timedelta(days=30))
    chain = chain_on(store)
    await chain.put(text(SIZE).encode(), Scope(TENANT, old, engine="inngest"))
    await store.age(timedelta(days=30))
    for run in (young, None):
        await chain.put(text(SIZE).encode(), Scope(TENANT, run, engine="inngest"))
    await sweep(store, None, rules)
    assert [len(await keys(store, run)) for run in (old, young, None)] == [0, 1, 1]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "is empty"),
        (["\n", "  \n"], "is empty"),
        (["run_id\n"], "line 1 of the list is not a run ID: 'run_id'"),
        ([f"{new_id().lower()}\n"], "line 1 of the list is not a run ID"),
        ([f"{new_id()}\n", f"{new_id()},Completed\n"], "line 2 of the list is not a run ID"),
        ([f"{new_id()}\n", new_id()[:-1]], "line 2 of the list is not a run ID"),
    ],
    ids=["no-line", "blank", "heading", "lower-case", "more-columns", "cut-off"],
)
async def test_a_list_that_cannot_be_trusted_ends_the_sweep(
    tmp_path: Path, lines: Iterable[str], said: str
) -> None:
    store = AgedStore(FileStore(tmp_path))
    run = new_id()
    await chain_on(store).put(text(SIZE).encode(), Scope(TENANT, run, engine="inngest"))
    await store.age(LONG)
    with pytest.raises(ConfigError, match=said):
        await sweep_of(store, ListedRuns(lines, [TENANT])).run()
    assert len(await keys(store, run)) == 1
