"""What executions that run, or are retained, can reach is kept; what the service has forgotten is deleted."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from coatcheck import Chain, CoatcheckError, Encrypt, FileStore, Keyring, Offload, ScopePrefixes, Zstd
from coatcheck.integrations.aws_durable import ClaimCheck, DurableExecutions
from coatcheck.integrations.aws_durable.scopes import execution_scope
from tests.chains import KEY
from tests.integrations.aws_durable.lambda_host import ARN, Lambda, lambda_host


def asked_for_the_function(model: Any, **_: Any) -> Any:
    """Answer as Lambda does: the local runner knows executions, and no functions."""
    del model
    answer = {"Configuration": {"FunctionArn": ARN}}
    return AWSResponse("", 200, HTTPHeaders(), None), answer


async def live_prefixes(aws: Lambda, chain: Chain) -> set[str]:
    live = DurableExecutions(aws.client, ["agent"], ["default"])
    return {prefix async for prefix in live.prefixes(ScopePrefixes(chain.sealings))}


async def test_a_sweep_is_told_of_every_execution_and_of_what_it_was_handed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(FileStore(tmp_path / "payloads")))
    with lambda_host(tmp_path, monkeypatch) as aws:
        # Its event was sealed by another execution, which the service does not know any more.
        event = ClaimCheck(chain).dump({"turns": 1, "padding": list(range(5000))}, execution="arn:caller")
        arn = aws.started(event)
        await asyncio.to_thread(aws.result, arn)
        prefixes = await live_prefixes(aws, chain)
        aws.client.meta.events.register("before-call.lambda.GetFunction", asked_for_the_function)
        origins = await DurableExecutions(aws.client, ["agent"], ["default"]).origins()
    known = ScopePrefixes(chain.sealings)
    for wanted in (arn, "arn:caller"):
        assert set(await known.of(execution_scope("default", wanted))) & prefixes
    assert not set(await known.of(execution_scope("default", "arn:gone"))) & prefixes
    assert origins["default"].cluster == "us-west-2:123456789012"


async def test_a_service_that_does_not_answer_ends_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lambda_host(tmp_path, monkeypatch) as aws:
        client = aws.client
    live = DurableExecutions(client, ["agent"], ["default"])
    with pytest.raises(CoatcheckError, match="does not list the executions"):
        [scope async for scope in live.scopes()]
