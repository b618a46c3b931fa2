"""Scopes that durable executions can still reach.

The service lists the executions of a function until their retention ends, and shows the history of each. An execution is
handed values by others: the event that it was invoked with, the results of functions that it invoked. A reference names its
scope by the run tag, so every history is searched for run tags.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from coatcheck.errors import CoatcheckError, ConfigError, EngineError
from coatcheck.integrations.aws_durable.scopes import ENGINE, execution_scope
from coatcheck.retention.live import LiveRuns, Origin, RunTag, run_tags_in
from coatcheck.scope import Scope

_GONE: Final = "ResourceNotFoundException"
_PARTS: Final = 5
"""Parts of an ARN up to the account: ``arn:aws:lambda:REGION:ACCOUNT``."""


class DurableExecutions(LiveRuns):
    """The executions of some functions, running or retained. Reads only; for one task.

    Needs ``lambda:ListDurableExecutionsByFunction`` and ``lambda:GetDurableExecutionHistory``, and one request or more for each
    execution.

    Args:
        client: A boto3 client for Lambda.
        functions: Names of all functions that use the store for ``tenants``: what one that is left out has stored would be
            deleted.
        tenants: Tenants of the functions: ``ClaimCheck(chain, tenant=...)``.
    """

    def __init__(self, client: Any, functions: Sequence[str], tenants: Sequence[str]) -> None:
        self.engine = ENGINE
        self.tenants = tuple(tenants)
        self._client = client
        self._functions = tuple(functions)

    async def origins(self) -> Mapping[str, Origin]:
        """See :meth:`LiveRuns.origins`: the account and the region.

        Raises:
            CoatcheckError: There is no such function, or the service does not answer.
        """
        found = [
            await self._ask(self._client.get_function, FunctionName=function) for function in self._functions
        ]
        places = {":".join(answer["Configuration"]["FunctionArn"].split(":")[3:_PARTS]) for answer in found}
        if len(places) != 1:
            raise ConfigError(
                f"the functions are in {len(places)} accounts or regions",
                "Sweep each with a store of its own.",
            )
        return {tenant: Origin(places.copy().pop()) for tenant in self.tenants}

    async def scopes(self) -> AsyncIterator[Scope | RunTag]:
        """See :meth:`LiveRuns.scopes`.

        Raises:
            CoatcheckError: The service refuses or does not answer.
        """
        for function in self._functions:
            pages = self._pages("list_durable_executions_by_function", FunctionName=function)
            async for page in pages:
                for execution in page["DurableExecutions"]:
                    arn = execution["DurableExecutionArn"]
                    for tenant in self.tenants:
                        yield execution_scope(tenant, arn)
                    async for tag in self._handed_to(arn):
                        yield tag

    async def _handed_to(self, arn: str) -> AsyncIterator[RunTag]:
        pages = self._pages(
            "get_durable_execution_history", DurableExecutionArn=arn, IncludeExecutionData=True
        )
        try:
            async for page in pages:
                shown = json.dumps(page["Events"], default=str)
                for tag in set(run_tags_in(shown.encode())):
                    yield tag
        except CoatcheckError as error:
            cause = error.__cause__
            # It was retained when it was listed, and has reached nothing since.
            if not (isinstance(cause, ClientError) and cause.response.get("Error", {}).get("Code") == _GONE):
                raise

    async def _pages(self, operation: str, **arguments: Any) -> AsyncIterator[dict[str, Any]]:
        pages: Iterator[dict[str, Any]] = iter(self._client.get_paginator(operation).paginate(**arguments))
        while (page := await self._ask(lambda: next(pages, None))) is not None:
            yield page

    async def _ask(self, call: Callable[..., Any], **arguments: Any) -> Any:
        try:
            return await asyncio.to_thread(call, **arguments)
        except (ClientError, BotoCoreError) as error:
            raise EngineError(
                f"AWS Lambda does not list the executions: {error}",
                "Check the names of the functions, the region, and the permissions.",
            ) from error
