"""No value is larger than a checkpoint, and what is saved is reported. The runner's helper looks at every checkpoint."""

import logging
import random
from collections import Counter
from typing import Any

import pytest
from aws_durable_execution_sdk_python import DurableContext
from aws_durable_execution_sdk_python.config import Duration

from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, Rule, StoreUnavailable, Zstd
from coatcheck.integrations.aws_durable import ClaimCheck
from tests.chains import KEY
from tests.integrations.aws_durable.running import LIMIT, a_chain, local_runner, objects_in

LARGE = random.Random(7).randbytes(300_000).hex()


async def test_a_rule_that_keeps_values_inline_does_not_end_an_execution() -> None:
    store = MemoryStore()
    claims = ClaimCheck(a_chain(store, rules=[Rule("step:*", inline=True)]))

    @claims.durable_execution
    def handler(_event: object, context: DurableContext) -> int:
        small = context.step(lambda _: LARGE[:50_000], name="small")
        return len(small) + len(context.step(lambda _: LARGE, name="large"))

    with local_runner(handler) as runner:
        result = runner.told({})
        assert result.result is not None
        assert claims.load(result.result) == len(LARGE) + 50_000
    assert len(await objects_in(store)) == 1


def test_without_a_store_a_value_too_large_is_an_error_that_is_not_retried() -> None:
    ran: Counter[str] = Counter()

    @ClaimCheck(Chain(Zstd(), Encrypt(Keyring(KEY)))).durable_execution
    def handler(_event: object, context: DurableContext) -> None:
        ran["handler"] += 1

        def step(_: object) -> str:
            ran["step"] += 1
            return LARGE

        context.step(step)

    with local_runner(handler) as runner:
        result = runner.told({})
    assert result.error is not None
    assert "LimitExceeded" in str(result.error.message)
    assert ran == {"handler": 1, "step": 1}


class Away(MemoryStore):
    """A store that takes nothing."""

    async def create(self, key: str, data: bytes) -> bool:
        raise StoreUnavailable(f"{len(data)} bytes are not taken", object_id=key)


def test_children_whose_results_no_store_takes_are_put_together_again_from_their_steps() -> None:
    chain = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(Away(), deadline=0.1))
    ran: Counter[int] = Counter()

    @ClaimCheck(chain).durable_execution
    def handler(_event: object, context: DurableContext) -> int:
        def child(inner: DurableContext) -> list[str]:
            def part(number: int) -> str:
                ran[number] += 1
                return LARGE[number * 100_000 : (number + 1) * 100_000]

            return [inner.step(lambda _, n=number: part(n)) for number in range(4)]  # type: ignore[misc]

        parts: Any = context.run_in_child_context(child)
        context.wait(Duration.from_seconds(1))
        return len("".join(parts))

    with local_runner(handler) as runner:
        result = runner.told({})
        assert max(map(len, runner.payloads())) < LIMIT
    assert result.result is not None
    assert ran == {0: 1, 1: 1, 2: 1, 3: 1}


def test_an_invocation_says_what_it_saved(caplog: pytest.LogCaptureFixture) -> None:
    claims = ClaimCheck(a_chain())
    handler = claims.durable_execution(lambda _, context: context.step(lambda _: LARGE) and None)
    with caplog.at_level(logging.INFO, "coatcheck.aws_durable"), local_runner(handler) as runner:
        runner.told({})
    (said,) = [record.getMessage() for record in caplog.records if record.name == "coatcheck.aws_durable"]
    # The step's, with its quotes, and the function's, which is null.
    assert f"in place of {len(LARGE) + 2 + 4}, 0 not taken" in said
    assert "2 values" in said
