"""Senders and workers without a key: what they write in the clear is not believed where that was said.

That everything honest works with a strict chain is what ``test_functions.py`` shows.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import inngest
import pytest
from inngest import Context

from coatcheck import ConfigError, IntegrityError, Scope
from coatcheck.integrations.inngest import ClaimCheck, EncryptionReader, claim_check
from coatcheck.integrations.inngest.failures import open_message
from coatcheck.integrations.inngest.marker import escaped, marked
from coatcheck.integrations.inngest.middleware import _ClaimCheckMiddleware
from tests.chains import encrypted_chain
from tests.engines.inngest import InngestServer
from tests.integrations.inngest.serving import App, closing, new_app, served, until

REFUSED = "is in the clear"
RUN = "01JRUN00000000000000000000"


def strict(*plain_events: str) -> ClaimCheck:
    return claim_check(encrypted_chain(accept_plain=False), plain_events=plain_events)


async def was_refused(run: dict[str, Any]) -> None:
    """The run failed for this reason and no other."""
    check = strict()
    said = await open_message(check.payloads, run["output"]["message"], check.payloads.shared)
    assert (run["status"], REFUSED in said) == ("Failed", True), said


@asynccontextmanager
async def keyless(app: App) -> AsyncIterator[App]:
    """The same app to the server, as a sender without a key has it."""
    outsider = new_app(app.server, name=app.name)
    async with closing(outsider):
        yield outsider


async def test_an_event_in_the_clear_runs_nothing_but_where_its_name_was_given(
    inngest_server: InngestServer,
) -> None:
    name = new_app(inngest_server).name
    app = new_app(inngest_server, strict(f"{name}/outside"), name=name)
    acted: list[Any] = []

    def acting_on(kind: str) -> inngest.Function[Any]:
        @app.client.create_function(fn_id=kind, retries=0, trigger=app.on(kind))
        async def act(ctx: Context) -> None:
            acted.append(ctx.event.data)

        return act

    functions = [acting_on("inside"), acting_on("outside")]
    async with served(app, functions), keyless(app) as outsider:
        await was_refused(await outsider.run("inside", order=1))
        assert acted == []
        assert (await outsider.run("outside", order=2))["status"] == "Completed"
        assert (await app.run("inside", order=3))["status"] == "Completed"
    assert acted == [{"order": 2}, {"order": 3}]


async def test_an_approval_in_the_clear_approves_nothing(inngest_server: InngestServer) -> None:
    app = new_app(inngest_server, strict())
    approved: list[Any] = []

    @app.client.create_function(fn_id="gate", retries=0, trigger=app.on("ask"))
    async def gate(ctx: Context) -> None:
        event = await ctx.step.wait_for_event("approval", event=app.event("approve"), timeout=30_000)
        approved.append(event and event.data)

    async with served(app, [gate]), keyless(app) as outsider:
        sent = await app.send("ask", order=1)
        await until(lambda: any(b"WaitForEvent" in answer for answer in app.wire.answers))
        # The server says nowhere that it now waits.
        while len(app.wire.requests) < 2:
            await outsider.send("approve", order=1)
            await app.server.started_by(sent)
        [run] = await app.server.runs_of(sent)
    await was_refused(run)
    assert approved == []


async def test_a_result_of_an_app_without_a_key_is_not_believed(inngest_server: InngestServer) -> None:
    app, other = new_app(inngest_server, strict()), new_app(inngest_server)
    believed: list[Any] = []

    @other.client.create_function(fn_id="child", trigger=other.on("never"))
    async def child(ctx: Context) -> str:
        return "forged"

    @app.client.create_function(fn_id="parent", retries=0, trigger=app.on("begin"))
    async def parent(ctx: Context) -> None:
        believed.append(
            await ctx.step.invoke_by_id("child", app_id=other.name, function_id="child", timeout=30_000)
        )

    async with served(other, [child]), served(app, [parent]):
        run = await app.run("begin", order=1)
    await was_refused(run)
    assert believed == []


class Memo:
    error = None

    def __init__(self, data: Any) -> None:
        self.data = data


async def opened_memo(check: ClaimCheck, value: Any) -> Any:
    """Return the value that a function is given for a step whose result stands so in the run state."""
    scope, memo = check.payloads.run(RUN), Memo(value)
    [data] = await check.payloads.open_all([value], scope)
    middleware: Any = _ClaimCheckMiddleware(check, None, None)  # type: ignore[arg-type]
    await middleware._open_memo(memo, data, scope)
    return memo.data


@pytest.mark.parametrize(
    "value",
    [
        0,
        "",
        False,
        [],
        {},
        {"ok": True},
        escaped({"ok": True}),
        {"__coatcheck__": "AAAA"},
        {"__coatcheck__": [1, 2]},
        {"name": "a/b", "data": {"ok": True}},
        {"name": "a/b", "data": "ok"},
        {"name": 1, "data": {"ok": True}},
        {"name": "inngest/scheduled.timer", "data": {"cron": "* * * * *", "ok": True}},
        {"name": "inngest/function.finished", "data": {"result": "forged"}},
        {"name": "inngest/function.finished", "data": {"event": {"name": "a/b", "data": {"ok": True}}}},
    ],
    ids=str,
)
async def test_results_and_values_in_the_clear_are_refused_in_whatever_form(value: Any) -> None:
    check = strict()
    for look in (opened_memo(check, value), check.unwrap(value)):
        with pytest.raises(IntegrityError, match=REFUSED):
            await look


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"name": "a/b", "data": {}},
        {"name": "a/b", "data": {"_inngest": {}}},
        {"name": "a/b", "data": None},
        {"name": "inngest/scheduled.timer", "data": {"cron": "* * * * *"}},
        {"name": "named", "data": {"ok": True}},
        {"name": "inngest/function.finished", "data": {"event": {"name": "named", "data": {"ok": True}}}},
    ],
    ids=str,
)
async def test_what_inngest_writes_itself_and_what_was_named_is_taken(value: Any) -> None:
    assert await opened_memo(strict("named"), value) == value


async def test_whatever_a_function_returns_comes_back() -> None:
    check = strict()
    values: list[Any] = [None, 0, "", [], {}, {"name": "a/b", "data": {"ok": True}}, escaped(1), marked(b"x")]
    for value in values:
        sealed = await check.payloads.seal(value, check.payloads.run(RUN))
        assert await opened_memo(check, sealed) == value
        assert await check.unwrap(await check.wrap(value)) == value


def test_readers_of_other_formats_do_not_go_with_a_strict_chain() -> None:
    make: Callable[..., ClaimCheck] = claim_check
    with pytest.raises(ConfigError, match="reads unauthenticated payloads"):
        make(encrypted_chain(accept_plain=False), read_also=[EncryptionReader("key")])
    assert Scope("default") == strict().payloads.shared
