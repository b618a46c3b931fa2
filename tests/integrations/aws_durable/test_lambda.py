"""What Lambda does to a function: it kills it, freezes it, and starts it anew where nothing is left of what it knew."""

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest
from aws_durable_execution_sdk_python import DurableContext
from aws_durable_execution_sdk_python.config import Duration

from coatcheck import Chain, Encrypt, FileStore, Keyring, Offload, PayloadCache, S3Store, Zstd
from coatcheck.integrations.aws_durable import ClaimCheck
from coatcheck.runtime.portal import run_blocking
from tests.chains import KEY
from tests.engines.fault_proxy import Fault, FaultProxy, Request
from tests.integrations.aws_durable.lambda_host import lambda_host
from tests.integrations.aws_durable.running import local_runner
from tests.stores.s3_fixtures import Bucket, NewStore, session_of

TURNS = 6


def expected(turns: int) -> list[str]:
    return [random.Random(number).randbytes(4_500).hex() for number in range(turns)]


def opened(folder: Path, text: str) -> Any:
    return ClaimCheck(Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(FileStore(folder / "payloads")))).load(
        text
    )


def done(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "done").read_text().split()]


async def test_a_function_that_is_killed_goes_on_in_a_cold_process_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lambda_host(tmp_path, monkeypatch) as aws:
        arn = aws.started(json.dumps({"turns": TURNS, "killed in": 4}))
        result = await asyncio.to_thread(aws.result, arn)
        assert aws.host.starts == 2
    assert opened(tmp_path, result) == expected(TURNS)
    assert done(tmp_path) == list(range(TURNS))


async def test_a_function_that_is_frozen_goes_on_over_other_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: Bucket
) -> None:
    """While it is frozen, every connection to the store is closed on the other side."""
    seen = 0

    def plan(_: Request) -> Fault:
        return Fault.NONE

    async with FaultProxy(bucket.server.endpoint, plan) as proxy:
        where = f"{proxy.endpoint} {bucket.name} {bucket.server.access_key} {bucket.server.secret_key}"
        with lambda_host(tmp_path, monkeypatch, STORE=where) as aws:
            invoke = aws.host.invoke
            loop = asyncio.get_running_loop()

            async def hang_up() -> None:
                nonlocal seen
                for connection in list(proxy._connections):
                    connection.cancel()
                    seen += 1

            def invoke_and_hang_up(event: bytes) -> tuple[bytes, bool]:
                answer = invoke(event)
                asyncio.run_coroutine_threadsafe(hang_up(), loop).result()
                return answer

            monkeypatch.setattr(aws.host, "invoke", invoke_and_hang_up)
            arn = aws.started(json.dumps({"turns": TURNS, "waits after": [1, 3]}))
            result = await asyncio.to_thread(aws.result, arn)
            assert (aws.host.starts, aws.host.freezes) == (1, 3)
    assert seen >= 2
    assert done(tmp_path) == list(range(TURNS))
    s3 = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(_store(bucket)))
    assert await asyncio.to_thread(ClaimCheck(s3).load, result) == expected(TURNS)


def _store(bucket: Bucket) -> Any:
    session = session_of(bucket.server.access_key, bucket.server.secret_key)
    return S3Store(bucket.name, session=session, endpoint_url=bucket.server.endpoint)


async def test_nothing_is_under_way_when_an_invocation_has_ended(bucket: Bucket, new_store: NewStore) -> None:
    """An invocation that ends early, while the results that it would have asked for are prefetched."""
    left: list[int] = []

    async def tasks() -> int:
        return len(asyncio.all_tasks() - {asyncio.current_task()})

    def handler(_event: object, context: DurableContext) -> None:
        for number in range(12):
            said = expected(number + 1)[number]
            context.step(lambda _, said=said: said)  # type: ignore[misc] # mypy does not look into it
            if number == 1 and left:
                raise RuntimeError("the end")
        context.wait(Duration.from_seconds(1))

    written: list[str] = []

    def plan(request: Request) -> Fault:
        """Answer what is asked for, and the listing; nothing of what is prefetched beyond that."""
        if request.method == "PUT":
            written.append(request.target)
        is_prefetched = request.method == "GET" and request.target in written[2:]
        return Fault.SILENT if is_prefetched else Fault.NONE

    async with FaultProxy(bucket.server.endpoint, plan) as proxy:

        def invoked(event: Any, lambda_context: Any) -> Any:
            """In a process of its own, as far as memory goes."""
            chain = Chain(
                Zstd(),
                Encrypt(Keyring(KEY)),
                Offload(new_store(proxy.endpoint)),
                cache=PayloadCache(2**20),
            )
            answer = ClaimCheck(chain).durable_execution(handler)(event, lambda_context)
            left.append(run_blocking(tasks()))
            return answer

        with local_runner(invoked) as runner:
            await asyncio.to_thread(runner.told, {})
    assert left == [0, 0]
