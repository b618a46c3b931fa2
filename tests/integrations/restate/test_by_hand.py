"""What is used call by call, also where no barrier is; and AWS Lambda, where there is one all the same."""

import os
import sys
from pathlib import Path
from signal import SIGKILL

import httpx
import pytest
import restate
from restate import Context, ObjectContext, Service, VirtualObject
from restate.serde import BytesSerde, JsonSerde

from coatcheck import Chain, ConfigError, FileStore, FormatError, IntegrityError, MemoryStore, Scope
from coatcheck.format.wire import is_ours
from coatcheck.integrations.restate import ClaimCheck
from tests.chains import encrypted_chain, keys_in
from tests.engines.process import free_port, running
from tests.engines.restate import RestateServer
from tests.integrations.restate import lambda_process
from tests.integrations.restate.agents import SECRET, text
from tests.integrations.restate.hosting import MODES, Protocol, hosting, listening


@pytest.mark.parametrize("mode", MODES)
async def test_offload_and_load_in_an_app_without_the_barrier(
    restate_server: RestateServer, mode: Protocol
) -> None:
    """Payload checks are on there: a replay that journaled other bytes would never end."""
    store = MemoryStore()
    claims = ClaimCheck(encrypted_chain(store))
    writer, reader = VirtualObject("Writer"), Service("Reader")
    attempts = 0

    @reader.handler()
    async def read(ctx: Context, reference: str) -> int:
        value = await claims.load(ctx, reference)
        return len(str(value))

    @writer.handler()
    async def write(ctx: ObjectContext, name: str) -> int:
        nonlocal attempts
        attempts += 1
        references = [await claims.offload(ctx, text(f"{name} {number}" * 2)) for number in range(4)]
        ctx.set("references", references)
        ctx.set("sealed", text(name), claims.serde())
        length = await ctx.service_call(read, references[-1])
        if attempts == 1:
            raise RuntimeError("it stumbles, and is replayed")
        assert await ctx.get("sealed", claims.serde()) == text(name)
        return length

    async with (
        hosting(restate_server, restate.app([writer, reader], mode), mode),
        restate.create_client(restate_server.ingress) as client,
    ):
        assert await client.object_call(write, "k", "name") == len(text("x"))
    assert attempts == 2
    assert len(await keys_in(store)) == 4
    rows = await restate_server.query("select value from state where service_name = 'Writer'")
    assert all(SECRET.encode() not in bytes.fromhex(str(row["value"])) for row in rows)


def test_a_serde_gives_the_same_bytes_each_time_and_takes_what_was_never_sealed() -> None:
    serde = ClaimCheck(encrypted_chain()).serde()
    value = {"text": text("value")}
    sealed = serde.serialize(value)
    assert is_ours(sealed)
    assert sealed == ClaimCheck(encrypted_chain()).serde().serialize(value)
    assert serde.deserialize(sealed) == value
    assert serde.deserialize(b'{"plain": 1}') == {"plain": 1}
    assert serde.serialize(None) == b""
    assert serde.deserialize(b"") is None


def test_a_serde_wraps_any_other_one() -> None:
    serde = ClaimCheck(encrypted_chain()).serde(BytesSerde())
    assert serde.deserialize(serde.serialize(bytes(range(256)))) == bytes(range(256))


async def test_a_serde_opens_nothing_of_another_tenant_and_nothing_that_was_offloaded() -> None:
    chain = encrypted_chain()
    ours, theirs = (ClaimCheck(chain, tenant=name).serde(JsonSerde()) for name in ("ours", "theirs"))
    with pytest.raises(IntegrityError):
        theirs.deserialize(ours.serialize(text("value")))
    reference = await chain.encode(text("value").encode(), Scope("ours"))
    with pytest.raises(FormatError, match="offloaded"):
        ours.deserialize(reference)


async def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ConfigError):
        ClaimCheck(encrypted_chain(), tenant="")
    with pytest.raises(ConfigError, match="decode_only"):
        await ClaimCheck(Chain(decode_only=True)).offload(None, "value")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="not the context"):
        await ClaimCheck(encrypted_chain()).offload(None, "value")  # type: ignore[arg-type]


async def test_a_decode_only_app_journals_plainly_and_reads_everything(restate_server: RestateServer) -> None:
    store = MemoryStore()
    echo = Service("Echo")

    @echo.handler()
    async def say(ctx: Context, words: str) -> str:
        return await ctx.run_typed("say", lambda: words)

    rolled_back = ClaimCheck(Chain(*encrypted_chain(store)._steps, decode_only=True))
    async with (
        hosting(restate_server, rolled_back.app([echo])),
        ClaimCheck(encrypted_chain(store)).create_client(restate_server.ingress) as client,
    ):
        assert await client.service_call(say, text("words")) == text("words")
    assert len(await keys_in(store)) == 1, "the input alone, which the caller has offloaded"


async def test_on_lambda_the_barrier_is_there_as_well(restate_server: RestateServer, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "tests.integrations.restate.lambda_process", str(port), str(tmp_path)]
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with running(command, tmp_path / "log", up=lambda: True, stop=SIGKILL, environment=path):
        await listening(port)
        await restate_server.register(f"http://127.0.0.1:{port}", http1=True)
        async with httpx.AsyncClient(base_url=restate_server.ingress, timeout=30) as outside:
            answer = await outside.post("/OnLambda/work", json="task")
            answer.raise_for_status()
    chain = lambda_process.chain_in(tmp_path)
    expected = f'"task{text("first")}{text("second")}"'.encode()
    assert await chain.decode(answer.content, Scope("default")) == expected
    stored = [entry async for entry in FileStore(tmp_path / "payloads").list_objects()]
    assert len(stored) == 3
