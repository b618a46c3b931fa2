"""LangGraph's own conformance suite for savers."""

import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate

from coatcheck.integrations.langgraph import ClaimCheckSaver
from tests.engines.postgres import PostgresServer
from tests.integrations.langgraph.savers import asynchronous, chain_on

BASE = {"put", "put_writes", "get_tuple", "list", "delete_thread"}
CAPABILITIES = {
    "memory": BASE,
    "sqlite": BASE,
    "postgres": {*BASE, "prune"},
    "whole": {*BASE, "prune", "copy_thread", "delete_for_runs"},
}
"""What the saver below can do: LangGraph's own have no more."""


@pytest.mark.parametrize("over", [0, 4096])
@pytest.mark.parametrize("kind", CAPABILITIES)
async def test_a_saver_conforms_in_all_that_the_one_below_can_do(
    kind: str, over: int, postgres_server: PostgresServer
) -> None:
    @checkpointer_test(name=f"{kind}-{over}")
    async def registered() -> AsyncIterator[BaseCheckpointSaver[Any]]:
        async with asynchronous(kind, postgres_server) as saver:
            yield ClaimCheckSaver(saver, chain_on(over=over))

    with warnings.catch_warnings():
        report = await validate(registered)
    assert [failure for result in report.results.values() for failure in result.failures] == []
    passed = {name for name, result in report.results.items() if result.passed}
    assert passed == CAPABILITIES[kind]
    assert all(report.results[name].tests_passed > 1 for name in passed)
