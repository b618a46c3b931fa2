"""Runs that began with Inngest's own middleware go on with ours."""

import base64
import json
from typing import Any

import inngest
import pytest
from inngest import ContextSync
from inngest.experimental.remote_state_middleware import RemoteStateMiddleware, S3Driver
from inngest_encryption import EncryptionMiddleware

from benchmarks.loads.counted import Counted
from coatcheck import (
    CoatcheckError,
    ConfigError,
    FormatError,
    IntegrityError,
    LimitExceeded,
    MemoryStore,
    PayloadCache,
    S3Store,
)
from coatcheck.integrations.inngest import EncryptionReader, RemoteStateReader, claim_check
from tests.chains import encrypted_chain
from tests.engines.inngest import InngestServer
from tests.integrations.inngest.serving import App, new_app, served, text
from tests.stores.s3_fixtures import Bucket, session_of

RUN = "01JRUN00000000000000000000"
HEX_KEY = bytes(range(32)).hex().encode()


def taken_over(server: InngestServer, before: Any, after: Any, requests: int = 3) -> App:
    """An app that changes its middleware in the middle of a run."""
    served = 0

    def factory(client: inngest.Inngest, raw: object) -> Any:
        nonlocal served
        served += 1
        # The event goes through it too.
        return (before if served <= requests + 1 else after)(client, raw)

    return new_app(server, factory)


def agent(app: App) -> inngest.Function[Any]:
    def think(seed: str) -> dict[str, str]:
        return {"text": text(30_000, seed)}

    @app.client.create_function(fn_id="agent", trigger=app.on("go"))
    def agent(ctx: ContextSync) -> Any:
        assert ctx.event.data == {"order": 1, "encrypted": {"text": text(3_000, "event")}}
        said = [ctx.step.run(f"think-{n}", think, str(n)) for n in range(6)]
        assert said == [{"text": text(30_000, str(n))} for n in range(6)]
        return len(said)

    return agent


def s3_store(bucket: Bucket) -> S3Store:
    session = session_of(bucket.server.access_key, bucket.server.secret_key)
    return S3Store(bucket.name, session=session, endpoint_url=bucket.server.endpoint)


async def test_a_run_of_the_remote_state_middleware(inngest_server: InngestServer, bucket: Bucket) -> None:
    before = RemoteStateMiddleware.factory(S3Driver(bucket=bucket.name, client=bucket.client))
    store = Counted(s3_store(bucket))
    reader = RemoteStateReader({bucket.name: store}, cache=PayloadCache(2**20))
    check = claim_check(encrypted_chain(), read_also=[reader])
    app = taken_over(inngest_server, before, check)
    async with served(app, [agent(app)]):
        run = await app.run("go", order=1, encrypted={"text": text(3_000, "event")})
    assert run["status"] == "Completed", run
    assert await check.unwrap(run["output"]) == 6
    memos = app.wire.of(run["run_id"])[-1]["steps"].values()
    assert sorted("__REMOTE_STATE__" in memo["data"] for memo in memos) == [False] * 3 + [True] * 3
    # Each of the three results once, and not once a request.
    assert sorted(store.asked.values()) == [1, 1, 1]
    await store.close()


@pytest.mark.parametrize("key", ["a string", HEX_KEY])
async def test_a_run_of_the_encryption_middleware(inngest_server: InngestServer, key: Any) -> None:
    before = EncryptionMiddleware.factory(key)
    check = claim_check(encrypted_chain(), read_also=[EncryptionReader("new", key)])
    app = taken_over(inngest_server, before, check)
    async with served(app, [agent(app)]):
        run = await app.run("go", order=1, encrypted={"text": text(3_000, "event")})
    assert run["status"] == "Completed", run
    assert await check.unwrap(run["output"]) == 6
    memos = app.wire.of(run["run_id"])[-1]["steps"].values()
    assert sorted("__ENCRYPTED__" in memo["data"] for memo in memos) == [False] * 3 + [True] * 3


def remote(**fields: Any) -> dict[str, Any]:
    key = f"inngest/remote_state/{RUN}/{'a' * 32}"
    return {"__REMOTE_STATE__": True, "__STRATEGY__": "inngest/s3", "bucket": "ours", "key": key, **fields}


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"bucket": "theirs"}, ConfigError),
        ({"bucket": ["ours"]}, ConfigError),
        ({"key": "secrets/key"}, FormatError),
        ({"key": f"inngest/remote_state/{RUN}/../{'a' * 32}"}, FormatError),
        ({"key": f"inngest/remote_state/{RUN}/{'a' * 32}\n"}, FormatError),
        ({"key": f"inngest/remote_state/01JRUN00000000000000000001/{'a' * 32}"}, FormatError),
        ({"key": None}, FormatError),
    ],
)
async def test_nothing_else_is_read(fields: dict[str, Any], error: type[CoatcheckError]) -> None:
    store = Counted(MemoryStore())
    reader = RemoteStateReader({"ours": store})
    value = remote(**fields)
    assert reader.knows(value)
    with pytest.raises(error):
        await reader.read(value, RUN)
    assert not store.requests


async def test_what_is_too_large_or_no_json() -> None:
    store = MemoryStore()
    reader = RemoteStateReader({"ours": store}, max_size=10, cache=PayloadCache(0))
    await store.replace(remote()["key"], b'"0123456789"')
    with pytest.raises(LimitExceeded, match="12 bytes; at most 10"):
        await reader.read(remote(), RUN)
    await store.replace(remote()["key"], b"\xff")
    with pytest.raises(FormatError):
        await reader.read(remote(), RUN)


@pytest.mark.parametrize(
    "value",
    [None, 1, [], {}, remote(more=1), remote(__REMOTE_STATE__=1), remote(__STRATEGY__="inngest/memory")],
)
async def test_what_only_looks_like_it(value: Any) -> None:
    reader = RemoteStateReader({"ours": MemoryStore()})
    assert not reader.knows(value)
    assert not EncryptionReader("key").knows(value)


async def test_what_was_encrypted_under_no_key_at_hand() -> None:
    value = {"__ENCRYPTED__": True, "__STRATEGY__": "inngest/libsodium"}
    reader = EncryptionReader("one", HEX_KEY)
    with pytest.raises(IntegrityError, match="none of the keys"):
        await reader.read({**value, "data": base64.b64encode(bytes(100)).decode()}, RUN)
    with pytest.raises(IntegrityError):
        await reader.read({**value, "data": ""}, RUN)
    with pytest.raises(FormatError, match="malformed"):
        await reader.read({**value, "data": "not base64"}, RUN)


@pytest.mark.parametrize("keys", [(), (b"zz",), (b"00",)])
def test_keys_that_are_none(keys: Any) -> None:
    with pytest.raises(ConfigError):
        EncryptionReader(*keys)


async def test_events_of_the_encryption_middleware() -> None:
    middleware: Any = EncryptionMiddleware.factory("key")(
        inngest.Inngest(app_id="x", is_production=False), None
    )
    middleware.client._http_client._http_client_sync.close()
    check = claim_check(encrypted_chain(), read_also=[EncryptionReader("key")])
    scope = check.payloads.run(RUN)
    event = inngest.Event(name="any", data={"encrypted": {"a": 1}, "order": 2})
    middleware.before_send_events([event])
    data = {**json.loads(json.dumps(event.data)), "_inngest": {"x": 1}}
    assert await check.events.open("any", data, scope) == {
        "encrypted": {"a": 1},
        "order": 2,
        "_inngest": {"x": 1},
    }
    whole = {**middleware._encrypt({"a": 1}), "_inngest": {"x": 1}}
    assert await check.events.open("any", whole, scope) == {"a": 1, "_inngest": {"x": 1}}
