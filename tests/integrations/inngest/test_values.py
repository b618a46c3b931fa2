"""What is handed in comes back, whatever it looks like; nothing is followed that was not sealed here."""

import base64
import json
import random
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import inngest
import pytest
from inngest import Context, ContextSync

from benchmarks.loads.counted import Counted
from coatcheck import (
    Chain,
    CoatcheckError,
    Encrypt,
    FormatError,
    IntegrityError,
    Keyring,
    MemoryStore,
    Offload,
    PayloadCache,
    Zstd,
)
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.integrations.inngest import (
    MARKER,
    ClaimCheck,
    EncryptionReader,
    FormatReader,
    RemoteStateReader,
    claim_check,
)
from coatcheck.integrations.inngest.marker import from_json, marked, to_json
from coatcheck.integrations.inngest.middleware import _ClaimCheckMiddleware
from coatcheck.scope import Scope
from tests.chains import KEY, OTHER_KEY
from tests.engines.inngest import InngestServer
from tests.integrations.inngest.serving import new_app, served

VALUES = 2_500
RUN = "01JRUN00000000000000000000"


class Untouched(MemoryStore):
    """A bucket that nobody may read."""

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        raise AssertionError(f"{key} was followed")


def chains(store: Any) -> list[Chain]:
    offload = Offload(store, over=300)
    cache = PayloadCache(0)
    return [
        Chain(cache=cache),
        Chain(Zstd(), cache=cache),
        Chain(Zstd(), offload, cache=cache),
        Chain(offload, cache=cache),
        Chain(Zstd(), Encrypt(Keyring(KEY)), offload, cache=cache),
        Chain(Zstd(), Encrypt(Keyring(KEY)), offload, cache=cache, decode_only=True),
    ]


class LookAlikes:
    """User values with markers in them: true ones of other values, truncated, nested, of other middleware.

    Args:
        seed: Of all choices.
        real: Texts that true markers have.
    """

    def __init__(self, seed: int, real: list[str]) -> None:
        self._seeded = random.Random(seed)
        self._real = real

    def text(self) -> str:
        marked = self._seeded.choice(self._real)
        base64_of_json = base64.urlsafe_b64encode(b'{"a":1}').decode().rstrip("=")
        return self._seeded.choice(
            (
                *(marked, marked[: self._seeded.randrange(len(marked))], marked + "=", marked + "A"),
                *(marked + "\n", "\ud800" + marked, "coatcheck:" + marked, "coatcheck:=" + marked),
                *("coatcheck:" + marked[:40], "coatcheck:", base64_of_json, "", "ä", "{}", MARKER),
            )
        )

    def marker(self, depth: int) -> Any:
        text, nested = self.text(), self.value(depth + 1)
        name = self._seeded.choice(("any", "inngest/function.failed", "inngest/function.finished"))
        key = f"inngest/remote_state/{RUN}/{'a' * 32}"
        return self._seeded.choice(
            (
                {MARKER: text},
                {MARKER: [nested]},
                {MARKER: text, "order": 7},
                {"__REMOTE_STATE__": True, "__STRATEGY__": "inngest/s3", "bucket": "ours", "key": key},
                {"__ENCRYPTED__": True, "__STRATEGY__": "inngest/libsodium", "data": text},
                {"name": name, "data": {MARKER: text}, "id": "1", "ts": 1},
                {
                    "name": name,
                    "data": {"event": nested, "error": {"message": text}, "result": {MARKER: text}},
                },
            )
        )

    def value(self, depth: int = 0) -> Any:
        choice = self._seeded.randrange(6) if depth < 4 else 0
        match choice:
            case 0:
                return self._seeded.choice((self.text(), None, True, 0, 1.5, 2**70, [], {}))
            case 1:
                return [self.value(depth + 1) for _ in range(self._seeded.randrange(3))]
            case 2:
                return {self.text(): self.value(depth + 1) for _ in range(self._seeded.randrange(3))}
            case _:
                return self.marker(depth)


class Memo:
    """A result as the SDK hands it to middleware."""

    error = None

    def __init__(self, data: Any) -> None:
        self.data = data


def middleware_of(check: ClaimCheck) -> Any:
    return _ClaimCheckMiddleware(check, None, None)  # type: ignore[arg-type]


async def there_and_back(check: ClaimCheck, value: Any) -> Any:
    """A step's result, over JSON as Inngest keeps it."""
    scope = check.payloads.run(RUN)
    sealed = json.loads(json.dumps(await check.payloads.seal(value, scope)))
    memo = Memo(sealed)
    [data] = await check.payloads.open_all([sealed], scope)
    await middleware_of(check)._open_memo(memo, data, scope)
    return memo.data


async def sent_and_received(check: ClaimCheck, value: Any) -> Any:
    """A field of an event, beside one in the clear."""
    data = {"value": value, "order": 7}
    sealed = json.loads(json.dumps(await check.events.seal(data, original=data, name="")))
    opened = await check.events.open("any", {**sealed, "_inngest": {}}, check.payloads.run(RUN))
    assert opened["order"] == 7
    return opened["value"]


@pytest.mark.parametrize("kind", range(6))
async def test_look_alikes_come_back_and_are_not_followed(kind: int) -> None:
    stored = MemoryStore()
    store = Counted(stored)
    chain = chains(store)[kind]
    # One that has keys reads both.
    others: list[FormatReader] = [RemoteStateReader({"ours": Untouched()}), EncryptionReader("key")]
    check = claim_check(chain, over=300, clear=["order"], read_also=others)
    scope = check.payloads.run(RUN)
    secrets = [
        {"secret": number, "text": random.Random(number).randbytes(20 * number).hex()} for number in range(40)
    ]
    writer = claim_check(chains(stored)[4], over=300)
    real = [(await writer.payloads.seal(value, scope))[MARKER] for value in secrets]
    true_ones = {entry.key async for entry in stored.list_objects()}
    assert true_ones
    generated = LookAlikes(kind, real)
    for number in range(VALUES):
        value = generated.value()
        way = sent_and_received if number % 4 == 0 else there_and_back
        assert to_json(await way(check, value)) == to_json(value)
    assert not true_ones & set(store.asked)


async def test_what_was_sealed_elsewhere_is_refused() -> None:
    store = MemoryStore()
    [*_, encrypted, _] = chains(store)
    check = claim_check(encrypted, over=300)
    sealed = await check.payloads.seal("x" * 5_000, check.payloads.run(RUN))
    other_run = check.payloads.run("01JRUN00000000000000000001")
    with pytest.raises(IntegrityError, match="another run"):
        await check.payloads.open(sealed, other_run)
    other_key = claim_check(Chain(Zstd(), Encrypt(Keyring(OTHER_KEY)), Offload(store)))
    with pytest.raises(CoatcheckError):
        await other_key.payloads.open(sealed, check.payloads.run(RUN))
    flipped = sealed[MARKER][:60] + ("A" if sealed[MARKER][60] != "A" else "B") + sealed[MARKER][61:]
    with pytest.raises(IntegrityError):
        await check.payloads.open({MARKER: flipped}, check.payloads.run(RUN))
    foreign = await encrypted.encode(b"\xff not JSON", Scope("default", RUN, engine="inngest"))
    with pytest.raises(FormatError, match="not JSON"):
        await check.payloads.open_sealed(foreign, check.payloads.run(RUN))
    text = await encrypted.encode(b'"text"', Scope("default"))
    with pytest.raises(FormatError, match="not a JSON object"):
        await check.events.open("any", marked(text), check.payloads.run(RUN))


async def test_a_forged_result_ends_the_run(inngest_server: InngestServer) -> None:
    """The message names the error and not the payload, and nobody retries what cannot succeed."""
    app = new_app(inngest_server, claim_check(chains(MemoryStore())[4]))
    calls = []

    def forge(client: inngest.Inngest, raw: object) -> inngest.MiddlewareSync:
        class Forge(inngest.MiddlewareSync):
            def transform_input(self, ctx: Any, function: Any, steps: inngest.StepMemos) -> None:
                for memo in steps.values():
                    memo.data = {MARKER: str(dict(memo.data)[MARKER])[:-40] + "A" * 40}  # type: ignore[call-overload]

        return Forge(client, raw)

    app.client.middleware.insert(0, forge)

    @app.client.create_function(fn_id="forged", trigger=app.on("go"))
    async def forged(ctx: Context) -> Any:
        async def result() -> str:
            calls.append(1)
            return "secret"

        return await ctx.step.run("step", result)

    async with served(app, [forged]):
        run = await app.run("go")
    assert run["status"] == "Failed"
    assert calls == [1]


async def test_an_event_that_is_sent_twice_is_sealed_once(inngest_server: InngestServer) -> None:
    check = claim_check(chains(MemoryStore())[4], clear=["order"])
    app = new_app(inngest_server, check)
    data: Any = {"order": 1, "text": "x" * 5_000}

    @app.client.create_function(fn_id="receive", trigger=app.on("go"))
    def receive(ctx: ContextSync) -> Any:
        assert ctx.event.data == data
        # On the loop of another thread than its own, as in a sync view.
        [sent] = app.client.send_sync(inngest.Event(name=app.event("more"), data=data))
        return sent

    @app.client.create_function(fn_id="more", trigger=app.on("more"))
    def more(ctx: ContextSync) -> Any:
        return dict(ctx.event.data)

    async with served(app, [receive, more]):
        event = inngest.Event(name=app.event("go"), data=data)
        ids = [*await app.client.send(event), *await app.client.send(event)]
        # Not on the loop, where it would be awaited: nothing leaves in the clear there either.
        ids += app.client.send_sync(event)
        assert event.data == data
        for sent in ids:
            [run] = await app.server.runs_of(sent)
            assert run["status"] == "Completed", run
            [second] = await app.server.runs_of(await check.unwrap(run["output"]))
            assert await check.unwrap(second["output"]) == data
    assert b"xxxx" not in app.wire.everything


async def test_results_and_events_that_are_no_json(inngest_server: InngestServer) -> None:
    check = claim_check(chains(MemoryStore())[4])
    app = new_app(inngest_server, check)

    @app.client.create_function(fn_id="any", retries=0, trigger=app.on("go"))
    async def anything(ctx: Context) -> Any:
        async def result() -> Any:
            return {"not JSON"}

        if "day" in str(ctx.event.data):
            return ctx.event.data
        return await ctx.step.run("step", result)

    day = datetime(2026, 1, 2, tzinfo=UTC)
    async with served(app, [anything]):
        failed = await app.run("go")
        run = await app.run("go", day={"day": day})
    assert failed["status"] == "Failed"
    assert b"not JSON" not in app.wire.everything
    assert await check.unwrap(run["output"]) == {"day": {"day": "2026-01-02T00:00:00Z"}}


async def test_by_hand() -> None:
    check = claim_check(chains(MemoryStore())[4])
    value = {"any": ["value"]}
    assert check.unwrap_sync(check.wrap_sync(value)) == value
    assert await check.unwrap(await check.wrap(value)) == value
    assert await check.unwrap("anything else") == "anything else"


async def test_a_call_of_a_model_by_inngest_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    step = SimpleNamespace(op=SimpleNamespace(value="AIGateway"), opts={"body": {}})
    await middleware_of(claim_check(chains(MemoryStore())[0]))._seal_planned(step)
    assert not caplog.text
    await middleware_of(claim_check(chains(MemoryStore())[4]))._seal_planned(step)
    assert "in the clear" in caplog.text


def test_json_that_is_too_deep_was_no_typed_error() -> None:
    with pytest.raises(FormatError, match="not JSON"):
        from_json(b"[" * 100_000)
