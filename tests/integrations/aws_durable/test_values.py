"""Values of each operation, on their way into a checkpoint and back."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import pytest
from aws_durable_execution_sdk_python import DurableContext
from aws_durable_execution_sdk_python.config import (
    CallbackConfig,
    ChildConfig,
    Duration,
    InvokeConfig,
    MapConfig,
    NestingType,
    ParallelBranch,
    ParallelConfig,
    StepConfig,
    WaitForCallbackConfig,
)
from aws_durable_execution_sdk_python.serdes import JsonSerDes, PassThroughSerDes, SerDes, SerDesContext
from aws_durable_execution_sdk_python.waits import WaitForConditionConfig, WaitForConditionDecision

from coatcheck import ConfigError, Encrypt, Keyring, MemoryStore, Offload, Rule, Zstd
from coatcheck.chain import Chain
from coatcheck.format.shown import MARKER, sealed_in_text
from coatcheck.integrations.aws_durable import ClaimCheck, ClaimCheckContext, Plain
from tests.chains import KEY
from tests.integrations.aws_durable.running import a_chain, local_runner, objects_in

SECRET = "what nobody may read"
LONG = f"{SECRET}. " * 20_000
"""420 KB: more than a checkpoint takes."""
WHEN = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
RICH = {"when": WHEN, "cost": Decimal("1.10"), "raw": b"\x00\xff", "pair": (1, 2), "lone": "\ud800"}


def poll(state: dict[str, Any], _: object) -> dict[str, Any]:
    return {"seen": state["seen"] + 1, "text": LONG}


def enough(state: dict[str, Any], _: int) -> WaitForConditionDecision:
    if state["seen"] >= 2:
        return WaitForConditionDecision.stop_polling()
    return WaitForConditionDecision.continue_waiting(Duration.from_seconds(1))


def everything(event: dict[str, Any], context: DurableContext) -> dict[str, Any]:
    """Use every operation, with values that are too large for a checkpoint."""
    text = event["text"]
    found: dict[str, Any] = {"step": context.step(lambda _: text, name="one")}
    found["rich"] = context.step(lambda _: RICH, name="rich") == RICH
    found["none"] = context.step(lambda _: None, name="none")
    found["child"] = context.run_in_child_context(
        lambda child: child.step(lambda _: [text, 1], name="inner"), name="child"
    )
    found["virtual"] = context.run_in_child_context(
        lambda child: child.step(lambda _: text), name="virtual", config=ChildConfig(is_virtual=True)
    )
    found["map"] = context.map(
        [1, 2], lambda child, item, _index, _all: child.step(lambda _: [item, text]), name="map"
    ).get_results()
    found["flat"] = context.map(
        [1, 2],
        lambda _child, item, _index, _all: [item, text],
        config=MapConfig(nesting_type=NestingType.FLAT),
    ).get_results()
    branches: list[Any] = [
        lambda _: text,
        ParallelBranch[str](lambda child: child.step(lambda _: text), name="named"),
    ]
    found["parallel"] = context.parallel(branches, name="both").get_results()
    found["flat branches"] = context.parallel(
        [lambda _: text], config=ParallelConfig(nesting_type=NestingType.FLAT)
    ).get_results()
    found["condition"] = context.wait_for_condition(
        poll,
        WaitForConditionConfig(wait_strategy=enough, initial_state={"seen": 0, "text": text}),
        name="poll",
    )
    context.wait(Duration.from_seconds(1))
    found["invoke"] = context.invoke("other", {"text": text, "twice": True})
    return found


def other(event: dict[str, Any], context: DurableContext) -> Any:
    return context.step(lambda _: event["text"] * 2)


EXPECTED: dict[str, Any] = {
    "step": LONG,
    "rich": True,
    "none": None,
    "child": [LONG, 1],
    "virtual": LONG,
    "map": [[1, LONG], [2, LONG]],
    "flat": [[1, LONG], [2, LONG]],
    "parallel": [LONG, LONG],
    "flat branches": [LONG],
    "condition": {"seen": 2, "text": LONG},
    "invoke": LONG * 2,
}


async def test_values_of_all_operations_are_sealed_and_come_back() -> None:
    store = MemoryStore()
    claims = ClaimCheck(a_chain(store), tenant="acme")
    # Each invocation and each function has a process of its own: nothing comes from a cache.
    alone = ClaimCheck(a_chain(store), tenant="acme")
    with local_runner(claims.durable_execution(everything), other=alone.durable_execution(other)) as runner:
        result = runner.told(claims.dump({"text": LONG}))
        payloads = runner.payloads()
        inputs = [execution.start_input.input or "" for execution in runner.executions.list_all()]
    assert result.result is not None
    assert ClaimCheck(a_chain(store), tenant="acme").load(result.result) == EXPECTED
    assert len(payloads) > 20
    for text in [*payloads, *inputs, result.result]:
        assert SECRET not in text
        assert sealed_in_text(text) is not None
    assert sum(map(len, payloads)) < 20_000
    assert SECRET.encode() not in b"".join(await objects_in(store))


async def test_virtual_and_flat_children_store_nothing_of_their_own() -> None:
    store = MemoryStore()
    claims = ClaimCheck(a_chain(store))

    @claims.durable_execution
    def handler(_event: object, context: DurableContext) -> int:
        virtual = ChildConfig[Any](is_virtual=True)
        size = len(context.run_in_child_context(lambda _: LONG, config=virtual))
        flat = MapConfig[Any](nesting_type=NestingType.FLAT)
        return size + len(context.map([1], lambda *_: LONG, config=flat).get_results()[0])

    with local_runner(handler) as runner:
        result = runner.told({})
        assert result.result is not None
        assert claims.load(result.result) == 2 * len(LONG)
    # That of the map as a whole.
    assert len(await objects_in(store)) == 1


def test_a_callback_opens_what_was_sealed_outside_and_what_is_plain() -> None:
    claims = ClaimCheck(a_chain())

    @claims.durable_execution
    def handler(_event: object, context: DurableContext) -> list[Any]:
        callback = context.create_callback("report", CallbackConfig(serdes=JsonSerDes()))
        approval = context.wait_for_callback(lambda *_: None, "approval")
        parsed = context.wait_for_callback(
            lambda *_: None, "parsed", WaitForCallbackConfig(serdes=JsonSerDes())
        )
        return [callback.result(), approval, parsed]

    with local_runner(handler) as runner:
        arn = runner.run_async("{}")
        for name, result in [
            ("report", claims.dump({"text": LONG}, execution=arn)),
            ("approval", "as it is"),
            ("parsed", claims.dump([1])),
        ]:
            runner.send_callback_success(_callback(runner, arn, name), result.encode())
        done = runner.wait_for_result(arn)
        # The child that waits for a callback has its result too.
        assert not [text for text in runner.payloads() if "as it is" in text]
    assert done.result is not None
    assert claims.load(done.result) == [{"text": LONG}, "as it is", [1]]


def _callback(runner: Any, arn: str, name: str) -> str:
    created = name if name == "report" else f"{name} create callback id"
    found: str = runner.wait_for_callback(arn, created)
    return found


def test_what_is_plain_by_choice_stays_so() -> None:
    claims = ClaimCheck(a_chain())

    @claims.durable_execution
    def handler(_event: object, context: DurableContext) -> str:
        context.step(lambda _: "shown", config=StepConfig(serdes=Plain()))
        config = InvokeConfig[Any, Any](serdes_payload=Plain(JsonSerDes()), serdes_result=Plain(JsonSerDes()))
        found: str = context.invoke("simple", {"n": 1}, config=config)
        return found

    with local_runner(handler) as runner:
        runner.register_function("simple", lambda event, _: f"n is {event['n']}")
        result = runner.told({})
        assert '"shown"' in runner.payloads()
        assert result.result is not None
        assert claims.load(result.result) == "n is 1"


def test_text_that_looks_sealed_comes_back_as_it_was() -> None:
    forms = [{MARKER: "x"}, {MARKER: ["x"]}, {MARKER: [["x"]]}, f'{{"{MARKER}":"']
    claims = ClaimCheck(Chain(Zstd(), Offload(MemoryStore())))

    @claims.durable_execution
    def handler(event: Any, context: DurableContext) -> Any:
        def returning(form: object) -> Callable[[object], object]:
            return lambda _: form

        makers: list[SerDes[Any] | None] = [None, JsonSerDes()]
        steps = [
            context.step(returning(form), config=StepConfig(serdes=serdes))
            for form in forms
            for serdes in makers
        ]
        text = context.step(
            lambda _: f' {{"{MARKER}": ["x"]}}', config=StepConfig(serdes=PassThroughSerDes())
        )
        return [event, steps, text, context.invoke("echo", {MARKER: ["x"]})]

    echo = claims.durable_execution(lambda event, _: event)
    with local_runner(handler, echo=echo) as runner:
        result = runner.told(claims.dump({MARKER: "x"}))
        assert result.result is not None
        expected = [{MARKER: "x"}, [form for form in forms for _ in range(2)]]
        assert claims.load(result.result) == [*expected, f' {{"{MARKER}": ["x"]}}', {MARKER: ["x"]}]


def test_a_chain_without_keys_leaves_what_is_small_readable() -> None:
    claims = ClaimCheck(Chain(Zstd(), Offload(MemoryStore())))
    handler = claims.durable_execution(lambda event, context: context.step(lambda _: event["a"]))
    with local_runner(handler) as runner:
        result = runner.told({"a": "b"})
        assert (runner.payloads(), result.result) == (['"b"'], '"b"')


def test_what_is_in_the_clear_is_refused_where_the_chain_says_so() -> None:
    chain = Chain(Zstd(), Encrypt(Keyring(KEY), accept_plain=False), Offload(MemoryStore()))
    claims = ClaimCheck(chain)
    ran: Counter[str] = Counter()

    @claims.durable_execution
    def handler(event: Any, context: DurableContext) -> Any:
        ran["handler"] += 1
        return [event, context.create_callback("plain").result()]

    with local_runner(handler) as runner:
        refused = runner.told({"a": 1})
        assert refused.error is not None
        assert "the event is in the clear" in str(refused.error.message)
        assert not ran
        arn = runner.run_async(claims.dump({"a": 1}), execution_name="second")
        runner.send_callback_success(runner.wait_for_callback(arn, "plain"), b"approved")
        done = runner.wait_for_result(arn)
    assert done.error is not None
    assert "callback:plain is in the clear" in str(done.error.message)


def test_another_tenants_values_are_not_opened() -> None:
    store = MemoryStore()
    text = ClaimCheck(a_chain(store), tenant="acme").dump({"text": LONG})
    handler = ClaimCheck(a_chain(store), tenant="other").durable_execution(lambda event, _: event)
    with local_runner(handler) as runner:
        result = runner.told(text)
    assert result.error is not None
    assert "IntegrityError" in str(result.error.message)


def test_a_step_does_not_open_what_another_execution_sealed() -> None:
    chain = a_chain()
    claims = ClaimCheck(chain)
    serdes = claims.serdes()
    of_one, of_other = SerDesContext("1", "arn:one"), SerDesContext("1", "arn:other")
    text = serdes.serialize("x" * 10_000, of_one)
    assert serdes.deserialize(text, of_one) == "x" * 10_000
    with pytest.raises(Exception, match="IntegrityError"):
        serdes.deserialize(text, of_other)


async def test_rules_know_operations_by_name() -> None:
    store, archive = MemoryStore(), MemoryStore()
    chain = Chain(
        Zstd(),
        Encrypt(Keyring(KEY)),
        Offload(store, read_also={"archive": archive}),
        rules=[Rule("step:report", store="archive"), Rule("step:note", inline=True)],
    )

    def note(_: object) -> str:
        return "n" * 9000

    @ClaimCheck(chain).durable_execution
    def handler(_event: object, context: DurableContext) -> int:
        return len(context.step(lambda _: LONG, name="report")) + len(context.step(note, name="note"))

    with local_runner(handler) as runner:
        runner.told({})
    assert (len(await objects_in(store)), len(await objects_in(archive))) == (0, 1)


def test_the_chain_is_that_of_every_operation_the_sdk_has() -> None:
    """An operation that a later SDK brings would pass its values by the chain."""
    operations = {
        name
        for name, member in vars(DurableContext).items()
        if callable(member) and not name.startswith("_") and "config" in member.__annotations__
    }
    covered = {"run_in_child_context", "wait_for_callback"}
    assert operations - covered <= vars(ClaimCheckContext).keys()
    assert covered < operations
    assert "_run_in_child_context" in vars(DurableContext)


def test_a_context_of_somebody_else_is_refused() -> None:
    claims = ClaimCheck(a_chain())
    twice = claims.durable_execution(
        lambda _, context: ClaimCheckContext.adopt(context, cast(ClaimCheckContext, context).invocation)
    )
    with local_runner(twice) as runner:
        result = runner.told({})
    assert result.error is not None
    assert str(ConfigError.__name__) in str(result.error.type)


def test_a_chain_that_only_decodes_reads_what_another_wrote() -> None:
    store = MemoryStore()
    claims = ClaimCheck(a_chain(store))
    arn = "arn:1"
    text = claims.serdes().serialize(LONG, SerDesContext("1", arn))
    old = ClaimCheck(a_chain(store, decode_only=True)).serdes()
    assert old.deserialize(text, SerDesContext("1", arn)) == LONG
    assert old.serialize("new", SerDesContext("1", arn)) == '"new"'
