"""The SDK's local runner, with what it was given to keep."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aws_durable_execution_sdk_python.lambda_service import OperationUpdate
from aws_durable_execution_sdk_python_testing.runner import (
    DurableFunctionTestResult,
    DurableFunctionTestRunner,
)
from aws_durable_execution_sdk_python_testing.stores.memory import InMemoryExecutionStore

from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, PayloadCache, Store, Zstd
from tests.chains import KEY

LIMIT = 256 * 1024
"""Bytes of a checkpoint, which the real service enforces and the local runner does not."""
SECONDS = 120


class LocalRunner(DurableFunctionTestRunner):
    """Asks its executions more often, and shows what they were given."""

    def __init__(self, handler: Callable[..., Any], **functions: Callable[..., Any]) -> None:
        self.executions = InMemoryExecutionStore()
        super().__init__(handler, poll_interval=0.01, store=self.executions)
        for name, function in functions.items():
            self.register_durable_function(name, function)

    def close(self) -> None:
        super().close()  # type: ignore[no-untyped-call]
        self._scheduler._loop.close()

    def told(self, event: object) -> DurableFunctionTestResult:
        """Run the function with an event; a text is taken as it is."""
        return self.run(event if isinstance(event, str) else json.dumps(event), execution_timeout=SECONDS)

    def invocations(self) -> int:
        """Invocations that have ended, of all executions."""
        return sum(len(execution.invocation_completions) for execution in self.executions.list_all())

    def updates(self) -> list[OperationUpdate]:
        """All that the handlers wanted to be kept."""
        return [update for execution in self.executions.list_all() for update in execution.updates]

    def payloads(self) -> list[str]:
        """The payloads of all checkpoints, in their order."""
        return [update.payload for update in self.updates() if update.payload]


@contextmanager
def local_runner(handler: Callable[..., Any], **functions: Callable[..., Any]) -> Iterator[LocalRunner]:
    """The runner; when it ends, no checkpoint was larger than the real service admits."""
    with LocalRunner(handler, **functions) as runner:
        yield runner
        sizes = [len(json.dumps(update.to_dict(), default=str)) for update in runner.updates()]
        assert max(sizes, default=0) <= LIMIT


def a_chain(store: Store | None = None, **settings: Any) -> Chain:
    """A chain in a process of its own, as far as memory goes."""
    return Chain(
        Zstd(),
        Encrypt(Keyring(KEY)),
        Offload(store or MemoryStore()),
        **{"cache": PayloadCache(2**24), **settings},
    )


async def objects_in(store: Store) -> list[bytes]:
    """All that a store keeps."""
    return [await store.get(entry.key) async for entry in store.list_objects()]
