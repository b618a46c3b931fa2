"""Expressions over what was sealed find nothing, and nothing equals nothing: they are refused before they run.

Before that, the approval of one order released the refund of another.
"""

from collections.abc import Callable
from typing import Any

import inngest
import pytest
from inngest import Context

from coatcheck import Chain, ConfigError, Encrypt, Keyring, MemoryStore, Offload, PayloadCache
from coatcheck.integrations.inngest import MARKER, claim_check
from coatcheck.integrations.inngest.clear import ClearFields
from coatcheck.integrations.inngest.expressions import paths_in
from tests.chains import KEY, encrypted_chain
from tests.engines.inngest import InngestServer
from tests.integrations.inngest.serving import App, new_app, served, until

SAME_ORDER = "event.data.order == async.data.order"
SAME_NESTED = 'event.data["order"].id == async.data.order.id'


async def refund_of(app: App, if_exp: str, **data: Any) -> tuple[dict[str, Any], list[Any]]:
    """The run for one order after another one was approved; and what was approved for it."""
    approved: list[Any] = []

    @app.client.create_function(fn_id="refund", retries=0, trigger=app.on("refund"))
    async def refund(ctx: Context) -> None:
        event = await ctx.step.wait_for_event(
            "approval", event=app.event("approved"), if_exp=if_exp, timeout=1_000
        )
        approved.append(event and event.data)

    async with served(app, [refund]):
        sent = await app.send("refund", **data)
        await until(lambda: bool(app.wire.answers))
        await app.send("approved", order={"id": 8}, note="of another order")
        [run] = await app.server.runs_of(sent)
    return run, approved


async def test_the_approval_of_one_order_released_the_refund_of_another(
    inngest_server: InngestServer,
) -> None:
    app = new_app(inngest_server, claim_check(encrypted_chain(), clear=["customer"]))
    run, approved = await refund_of(app, SAME_ORDER, order={"id": 7}, customer=1)
    assert approved == []
    assert run["status"] == "Failed"
    said = run["output"]["message"]
    assert "the step 'approval' of the function 'refund'" in said
    assert SAME_ORDER in said
    assert "clear=['order']" in said


@pytest.mark.parametrize(
    ("clear", "if_exp"), [("order", SAME_ORDER), ("order", SAME_NESTED), ("order.id", SAME_NESTED)]
)
async def test_what_is_clear_is_compared(inngest_server: InngestServer, clear: str, if_exp: str) -> None:
    app = new_app(inngest_server, claim_check(encrypted_chain(), clear=[clear]))
    run, approved = await refund_of(app, if_exp, order={"id": 7})
    assert (run["status"], approved) == ("Completed", [None]), "it was another order"


async def test_a_cancellation_of_one_order_stopped_all_others(inngest_server: InngestServer) -> None:
    check = claim_check(encrypted_chain())
    app = new_app(inngest_server, check)
    cancel = [inngest.Cancel(event=app.event("cancel"), if_exp=SAME_ORDER)]
    ran: list[int] = []

    @app.client.create_function(fn_id="ship", retries=0, cancel=cancel, trigger=app.on("ship"))
    async def ship(ctx: Context) -> None:
        await ctx.step.sleep("first", 60_000)
        ran.append(1)

    with pytest.raises(
        ConfigError,
        match=r"cancel of the function 'ship' is `event.data.order == .*event.data.order is sealed",
    ):
        check.checked([ship])
    # Whoever forgot to ask is told by the first run, which does nothing.
    async with served(app, [ship]):
        run = await app.run("ship", order=7)
    assert (run["status"], ran) == ("Failed", [])
    assert "cancel of the function 'ship'" in run["output"]["message"]
    assert claim_check(encrypted_chain(), clear=["order"]).checked([ship]) == [ship]
    assert claim_check(Chain(decode_only=True)).checked([ship]) == [ship]


Config = Callable[[str], dict[str, Any]]
CONFIGS: dict[str, Config] = {
    "cancel": lambda text: {"cancel": [inngest.Cancel(event="stop", if_exp=text)]},
    "concurrency": lambda text: {"concurrency": [inngest.Concurrency(limit=1, key=text)]},
    "debounce": lambda text: {"debounce": inngest.Debounce(period=1000, key=text)},
    "idempotency": lambda text: {"idempotency": text},
    "throttle": lambda text: {"throttle": inngest.Throttle(limit=1, period=1000, key=text)},
    "rate_limit": lambda text: {"rate_limit": inngest.RateLimit(limit=1, period=1000, key=text)},
    "priority": lambda text: {"priority": inngest.Priority(run=text)},
    "singleton": lambda text: {"singleton": inngest.Singleton(mode="skip", key=text)},
    "batch_events, its key": lambda text: {"batch_events": inngest.Batch(max_size=2, key=text)},
    "batch_events, its condition": lambda text: {"batch_events": inngest.Batch(max_size=2, if_exp=text)},
    "the trigger": lambda text: {"trigger": inngest.TriggerEvent(event="go", expression=text)},
    "the trigger, of several": lambda text: {
        "trigger": [
            inngest.TriggerCron(cron="0 0 * * *"),
            inngest.TriggerEvent(event="other"),
            inngest.TriggerEvent(event="go", expression=text),
        ]
    },
}


def function_with(**config: Any) -> inngest.Function[Any]:
    client = inngest.Inngest(app_id="app", is_production=False)

    @client.create_function(**{"fn_id": "f", "trigger": inngest.TriggerEvent(event="go"), **config})
    async def function(ctx: Context) -> None: ...

    return function


@pytest.mark.parametrize("place", CONFIGS)
def test_every_place_for_an_expression_is_looked_at(place: str) -> None:
    function = function_with(**CONFIGS[place]("event.data.customer"))
    with pytest.raises(
        ConfigError, match=rf"{place.partition(',')[0]} of the function 'f' is `event.data.customer`"
    ):
        claim_check(encrypted_chain()).checked([function])
    claim_check(encrypted_chain(), clear=["customer"]).checked([function])


@pytest.mark.parametrize(
    ("text", "clear"),
    [
        ("event.data.order.id", ["order"]),
        ("event.data.order.id", ["order.id"]),
        ("event.data['order']['id']", ["order.id"]),
        ('event["data"]["order"].id', ["order.id"]),
        ("event.data.?order.?id", ["order.id"]),
        ("has(event.data.order) && size(event.data.order.lines) > 2", ["order"]),
        ("event.data.tags.exists(tag, tag == 'x' || tag.startsWith('event.data.secret'))", ["tags"]),
        ("event.data.lines[0].price", ["lines"]),
        ("event.data['order-id'] == \"7\"", ["order-id"]),
        ("event.data.order == async.data.order // event.data.secret", ["order"]),
        ("event.name == 'go' && event.ts > 5 && event.user.id == 'u'", []),
        ("math.greatest(event.data.a, 1.5e3) in [1, 2]", ["a"]),
        ("'constant'", []),
        ("event.data.plan == 'paid' ? 120 : 0", ["plan"]),
        ("event.data._inngest.x == null", []),
    ],
)
def test_what_is_understood(text: str, clear: list[str]) -> None:
    function = function_with(cancel=[inngest.Cancel(event="stop", if_exp=text)])
    claim_check(encrypted_chain(), clear=clear).checked([function])
    for left_out in clear:
        with pytest.raises(ConfigError, match="is sealed"):
            claim_check(encrypted_chain(), clear=[name for name in clear if name != left_out]).checked(
                [function]
            )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("event.data.order", r"clear=\['order'\]"),
        ("event.data == async.data", "fields of the data"),
        ("event == async", "fields of the data"),
        ("event.data[event.name] == 1", "fields of the data"),
        ("data.order == 7", "'data' is neither"),
        ("order == 7", "'order' is neither"),
        ("event.data['order\\x2eid']", "not understood"),
        ("event.data[r'order']", "not understood"),
        ("event.data.order.id == $1", "not understood"),
        ("event.data.'order'", "is not a name"),
    ],
)
def test_what_is_not_understood_or_hidden_is_refused(text: str, why: str) -> None:
    function = function_with(cancel=[inngest.Cancel(event="stop", if_exp=text)])
    with pytest.raises(ConfigError, match=why):
        claim_check(encrypted_chain(), clear=["order.id"]).checked([function])


def test_there_is_no_second_event_for_a_key() -> None:
    function = function_with(idempotency="async.data.order")
    with pytest.raises(ConfigError, match="there is no 'async'"):
        claim_check(encrypted_chain(), clear=["order"]).checked([function])


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("event.data.function_id == 'app-f'", False),
        ("event.data.error.name == 'ValueError'", False),
        ("event.data.event.name == 'go'", False),
        ("event.data.event.data.order == 7", False),
        ("event.data.event.data.customer == 7", True),
        ("event.data.result.total > 5", True),
        ("event.data.error.message == ''", True),
        ("event.data.error == null", True),
        ("event.data.events[0].data.order == 7", True),
    ],
)
def test_events_that_tell_of_the_end_of_runs(text: str, *, refused: bool) -> None:
    trigger = inngest.TriggerEvent(event="inngest/function.finished", expression=text)
    check = claim_check(encrypted_chain(), clear=["order"])
    if refused:
        with pytest.raises(ConfigError, match="sealed"):
            check.checked([function_with(trigger=trigger)])
    else:
        check.checked([function_with(trigger=trigger)])


@pytest.mark.parametrize(
    "name",
    [
        "event.data.order",
        "data.order",
        "async.data.x",
        "event",
        'order["id"]',
        "order..id",
        "",
        ".order",
        "a b",
        MARKER,
    ],
)
def test_a_name_that_means_nothing_below_the_data_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"Write it|Write its name|no field"):
        claim_check(encrypted_chain(), clear=[name])


def test_only_what_was_named_is_sent_in_the_clear() -> None:
    data = {"order": {"id": 7, "secret": 1, "by": {"name": "x", "key": 2}}, "data": 3, "list": [{"id": 1}]}
    clear = ClearFields(["order.id", "order.by.name", "data", "list.id", "missing", "order.id.deep"])
    assert clear.of(data) == {"order": {"id": 7, "by": {"name": "x"}}, "data": 3}
    assert ClearFields(["order", "order.id"]).of(data) == {"order": data["order"]}
    assert ClearFields([]).of(data) == {}


def test_paths() -> None:
    found = paths_in("event.data.a.b.contains('x') && async[\"data\"]['c'] != event.data.list[0].d")
    assert [str(path) for path in found] == ["event.data.a.b", "async.data.c", "event.data.list"]


async def test_a_wait_in_parallel_is_looked_at_as_well(inngest_server: InngestServer) -> None:
    store = MemoryStore()
    chain = Chain(Encrypt(Keyring(KEY)), Offload(store), cache=PayloadCache(0))
    app = new_app(inngest_server, claim_check(chain))

    @app.client.create_function(fn_id="gate", retries=0, trigger=app.on("go"))
    async def gate(ctx: Context) -> None:
        await ctx.group.parallel(
            (
                lambda: ctx.step.wait_for_event("a", event=app.event("a"), timeout=1_000),
                lambda: ctx.step.wait_for_event("b", event=app.event("b"), if_exp=SAME_ORDER, timeout=1_000),
            )
        )

    async with served(app, [gate]):
        run = await app.run("go", order=1)
    assert run["status"] == "Failed"
    assert "the step 'b' of the function 'gate'" in run["output"]["message"]
