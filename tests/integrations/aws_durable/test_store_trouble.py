"""A store that is slow, failing or dead, at each write and at each read: nothing is done twice, and nothing for ever."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from aws_durable_execution_sdk_python import DurableContext
from aws_durable_execution_sdk_python.config import Duration, StepConfig, StepSemantics
from aws_durable_execution_sdk_python.exceptions import SerDesError
from aws_durable_execution_sdk_python.retries import RetryPresets
from aws_durable_execution_sdk_python_testing.executor import Executor
from aws_durable_execution_sdk_python_testing.model import LambdaContext
from aws_durable_execution_sdk_python_testing.runner import DurableFunctionTestResult

from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, PayloadCache, Store, Zstd
from coatcheck.integrations.aws_durable import ClaimCheck
from tests.chains import KEY
from tests.engines.fault_proxy import Fault, FaultProxy, Request
from tests.integrations.aws_durable.running import LocalRunner, a_chain, local_runner
from tests.stores.s3_fixtures import Bucket, NewStore

STRIKES = 0.3
"""Seconds of a deadline that strikes in these tests."""


def text_of(number: int, size: int) -> str:
    return random.Random(number).randbytes(size // 2).hex()


SMALL, LARGE = 60_000, 900_000
"""Bytes of values that a checkpoint takes, also sealed, and that it does not."""


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Executor, "RETRY_BACKOFF_SECONDS", 0)


class Agent:
    """A handler whose steps count how often they are run. Each invocation has a process of its own, as far as memory goes."""

    def __init__(self, chain: Callable[[], Chain], sizes: list[int], **settings: Any) -> None:
        self.ran: Counter[int] = Counter()
        self.chain = chain
        self.sizes = sizes
        self.settings = settings
        self.config = StepConfig()
        self.invoked = 0

    def claims(self) -> ClaimCheck:
        return ClaimCheck(self.chain(), **self.settings)

    def __call__(self, event: Any, lambda_context: Any) -> Any:
        self.invoked += 1
        return self.claims().durable_execution(self.run)(event, lambda_context)

    def run(self, _event: Any, context: DurableContext) -> list[int]:
        sizes = []
        for number, size in enumerate(self.sizes):

            def work(_: object, number: int = number, size: int = size) -> str:
                self.ran[number] += 1
                return text_of(number, size)

            sizes.append(len(context.step(work, name=f"step {number}", config=self.config)))
            context.wait(Duration.from_seconds(1))
        return sizes

    def runner(self) -> AbstractContextManager[LocalRunner]:
        return local_runner(self)

    def done(self, result: DurableFunctionTestResult) -> Any:
        assert result.result is not None, result.error
        return self.claims().load(result.result)


def sealed_on(store: Store, deadline: float = 20.0) -> Chain:
    return Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store, deadline=deadline), cache=PayloadCache(2**24))


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.LOST_ACKNOWLEDGEMENT])
async def test_a_store_that_dies_at_any_write_repeats_no_step(
    bucket: Bucket, new_store: NewStore, fault: Fault
) -> None:
    writes = 0
    dead_from = 0

    def plan(request: Request) -> Fault:
        nonlocal writes
        if request.method != "PUT":
            return Fault.NONE
        writes += 1
        return fault if writes > dead_from else Fault.NONE

    async with FaultProxy(bucket.server.endpoint, plan) as proxy:
        for dead_from in range(3):
            writes = 0
            agent = Agent(lambda: sealed_on(new_store(proxy.endpoint), STRIKES), [SMALL] * 2)
            with agent.runner() as runner:
                result = await asyncio.to_thread(runner.told, {})
                inline = [text for text in runner.payloads() if len(text) > 1000]
            assert agent.ran == {0: 1, 1: 1}
            # The deadline may also strike where the store is well: that is no other thing.
            assert len(inline) >= 2 - dead_from
            # Read by somebody who never saw the store fail.
            agent.chain = lambda: sealed_on(new_store())
            assert agent.done(result) == [SMALL, SMALL]


async def test_a_value_too_large_for_a_checkpoint_waits_for_the_store(
    bucket: Bucket, new_store: NewStore, caplog: pytest.LogCaptureFixture
) -> None:
    def plan(request: Request) -> Fault:
        """Refuse all writes until the invocation waits."""
        waits = "An invocation waits for the store" in caplog.text
        return Fault.RESET if request.method == "PUT" and not waits else Fault.NONE

    async with FaultProxy(bucket.server.endpoint, plan) as proxy:
        agent = Agent(lambda: sealed_on(new_store(proxy.endpoint), STRIKES), [LARGE])
        with agent.runner() as runner:
            result = await asyncio.to_thread(runner.told, {})
        # Read by somebody who has more time.
        agent.chain = lambda: sealed_on(new_store())
        assert agent.done(result) == [LARGE]
        assert "An invocation waits for the store" in caplog.text
    assert agent.ran == {0: 1}


async def test_a_store_that_does_not_answer_is_left_before_the_invocation_ends(
    bucket: Bucket, new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LambdaContext, "get_remaining_time_in_millis", lambda _: 2500)

    def plan(request: Request) -> Fault:
        return Fault.SILENT if request.method == "PUT" else Fault.NONE

    async with FaultProxy(bucket.server.endpoint, plan) as proxy:
        agent = Agent(lambda: sealed_on(new_store(proxy.endpoint), deadline=600), [SMALL])
        with agent.runner() as runner:
            result = await asyncio.to_thread(runner.told, {})
        assert agent.done(result) == [SMALL]
    assert agent.ran == {0: 1}


@pytest.fixture
def _little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LambdaContext, "get_remaining_time_in_millis", lambda _: 2500)


@pytest.fixture
async def dead(bucket: Bucket, new_store: NewStore) -> Any:
    """A store to which nothing can be written."""

    def plan(request: Request) -> Fault:
        return Fault.RESET if request.method == "PUT" else Fault.NONE

    async with FaultProxy(bucket.server.endpoint, plan) as proxy:
        yield lambda: sealed_on(new_store(proxy.endpoint), STRIKES)


@pytest.mark.usefixtures("_little_time")
async def test_a_dead_store_fails_an_execution_that_has_been_stuck_for_too_long(
    dead: Callable[[], Chain],
) -> None:
    agent = Agent(dead, [LARGE], patience=timedelta(0))
    with agent.runner() as runner:
        result = await asyncio.to_thread(runner.told, {})
    assert (agent.invoked, agent.ran) == (1, {0: 1})
    assert result.error is not None
    assert result.error.type is not None
    assert result.error.type.endswith(SerDesError.__name__)
    assert "has made no progress" in str(result.error.message)


@pytest.mark.usefixtures("_little_time")
async def test_until_then_the_invocation_is_retried_as_the_service_does(dead: Callable[[], Chain]) -> None:
    agent = Agent(dead, [LARGE])
    with agent.runner() as runner:
        result = await asyncio.to_thread(runner.told, {})
    assert agent.invoked == Executor.MAX_CONSECUTIVE_FAILED_ATTEMPTS
    assert result.error is not None
    assert "RetryableSerDesError" in str(result.error.type) + str(result.error.message)


@pytest.mark.usefixtures("_little_time")
async def test_a_step_that_must_run_at_most_once_is_not_repeated_either(dead: Callable[[], Chain]) -> None:
    agent = Agent(dead, [LARGE])
    agent.config = StepConfig(
        step_semantics=StepSemantics.AT_MOST_ONCE_PER_RETRY, retry_strategy=RetryPresets.none()
    )
    with agent.runner() as runner:
        result = await asyncio.to_thread(runner.told, {})
    assert (agent.invoked, agent.ran) == (2, {0: 1})
    assert result.error is not None
    assert "interrupted" in str(result.error.message)


async def test_a_result_that_cannot_be_read_now_is_read_by_a_later_invocation() -> None:
    store = MemoryStore()
    agent = Agent(lambda: a_chain(store), [SMALL, SMALL])
    gone: dict[str, bytes] = {}

    class Losing(Agent):
        def __call__(self, event: Any, lambda_context: Any) -> Any:
            if self.invoked == 1:
                for key, (data, _) in list(store._objects.items()):
                    gone[key] = data
                    del store._objects[key]
            if self.invoked == 3:
                for key, data in gone.items():
                    asyncio.run(store.create(key, data))
            return super().__call__(event, lambda_context)

    agent = Losing(agent.chain, agent.sizes)
    with agent.runner() as runner:
        result = await asyncio.to_thread(runner.told, {})
    assert agent.done(result) == [SMALL, SMALL]
    assert agent.ran == {0: 1, 1: 1}
    assert agent.invoked == 5


async def test_a_result_that_was_changed_is_not_read_again_and_again() -> None:
    store = MemoryStore()

    class Changing(Agent):
        def __call__(self, event: Any, lambda_context: Any) -> Any:
            if self.invoked == 1:
                for key, (data, modified) in list(store._objects.items()):
                    store._objects[key] = data[:-1] + bytes([data[-1] ^ 1]), modified
            return super().__call__(event, lambda_context)

    agent = Changing(lambda: a_chain(store), [SMALL, SMALL])
    with agent.runner() as runner:
        result = await asyncio.to_thread(runner.told, {})
    assert (agent.invoked, agent.ran) == (2, {0: 1})
    assert result.error is not None
    assert "IntegrityError" in str(result.error.message)
