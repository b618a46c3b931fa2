"""Keys for the length of an attempt at an activity or a Nexus operation.

Temporal runs an activity first, and seals its result afterwards, in the same task. If the result cannot be sealed, the
attempt has failed, and the activity runs again with all its side effects. So the key is loaded before an attempt begins,
and stays available until its outcome is sealed.

The result of a local activity is opened in the workflow task that waits for it, and the workflow's next commands are sealed.
If that task failed, the activity would run again as well. So its keys are handed on to the workflow.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from nexusrpc.handler import StartOperationResultAsync, StartOperationResultSync
from temporalio import activity
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteNexusOperationStartInput,
    Interceptor,
    NexusOperationInboundInterceptor,
)

from coatcheck.chain import Chain
from coatcheck.integrations.temporal.scopes import workflow_scope
from coatcheck.keys.lease import KeyLease, current_lease
from coatcheck.scope import Scope

_RECORDED_WITHIN: Final = 10.0
"""Default time-out of a workflow task, in seconds: for so long after a local activity its workflow can use the keys."""


class Attempts:
    """The leases of a process's attempts. For one worker at a time, or for several in one thread.

    Args:
        chain: The chain that seals their outcomes.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._handed_on: dict[Scope, KeyLease] = {}

    def begin(self, local: Scope | None = None) -> KeyLease:
        """Begin a lease in the task of the attempt, which the SDK also seals its outcome in; it ends with the task.

        Args:
            local: The workflow of a local activity, which gets the lease by :meth:`hand_on`.
        """
        lease = KeyLease()
        lease.begin()
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: self._end(lease, local))
        return lease

    async def load(self, namespace: str) -> None:
        """Load the namespace's key into the lease of the caller.

        Raises:
            KeyUnavailable: It is not available now. Nothing has been done yet.
            StoreError: The store of the keys cannot or will not return it.
        """
        if not self._chain.decode_only:
            await self._chain.load_keys(namespace)

    def hand_on(self, lease: KeyLease, workflow: Scope) -> None:
        """Let a workflow use the keys of its local activity, until its workflow task must have ended."""
        self._handed_on[workflow] = lease

    @contextmanager
    def using_handed_on(self, workflow: Scope) -> Iterator[None]:
        """Use, within the block, the lease handed on to the workflow, unless the caller has its own."""
        lease = self._handed_on.get(workflow)
        if lease is None or current_lease() is not None:
            yield
            return
        with lease.active():
            yield

    def _end(self, lease: KeyLease, local: Scope | None) -> None:
        if local is None:
            lease.end()
        else:
            asyncio.get_running_loop().call_later(_RECORDED_WITHIN, self._let_go, lease, local)

    def _let_go(self, lease: KeyLease, workflow: Scope) -> None:
        lease.end()
        if self._handed_on.get(workflow) is lease:
            del self._handed_on[workflow]


class AttemptInterceptor(Interceptor):
    """Ensures that each attempt has its key from beginning to end, or does not begin.

    Args:
        attempts: The codec's leases.
        namespace: The worker's namespace.
    """

    def __init__(self, attempts: Attempts, namespace: str) -> None:
        self._attempts = attempts
        self._namespace = namespace

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the SDK's signature
        """Called by the SDK, in the task of the attempt."""
        return _ActivityInbound(next, self._attempts)

    def intercept_nexus_operation(
        self,
        next: NexusOperationInboundInterceptor,  # noqa: A002 - the SDK's signature
    ) -> NexusOperationInboundInterceptor:
        """Called by the SDK, in the task of the attempt."""
        self._attempts.begin()
        return _NexusInbound(next, self._attempts, self._namespace)


class _ActivityInbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, attempts: Attempts) -> None:  # noqa: A002 - the SDK's signature
        super().__init__(next)
        info = activity.info()
        self._namespace = info.namespace
        # None unless it is local: only these hand on.
        self._local = (
            workflow_scope(info.namespace, info.workflow_id) if info.is_local and info.workflow_id else None
        )
        self._attempts = attempts
        # Here rather than in execute_activity: an interceptor before this one may call that in a task of its own.
        self._lease = attempts.begin(self._local)

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's signature
        await self._attempts.load(self._namespace)
        try:
            return await super().execute_activity(input)
        finally:
            if self._local is not None:
                self._attempts.hand_on(self._lease, self._local)


class _NexusInbound(NexusOperationInboundInterceptor):
    def __init__(
        self,
        next: NexusOperationInboundInterceptor,  # noqa: A002 - the SDK's signature
        attempts: Attempts,
        namespace: str,
    ) -> None:
        super().__init__(next)
        self._attempts = attempts
        self._namespace = namespace

    async def execute_nexus_operation_start(
        self,
        input: ExecuteNexusOperationStartInput,  # noqa: A002 - the SDK's signature
    ) -> StartOperationResultSync[Any] | StartOperationResultAsync:
        await self._attempts.load(self._namespace)
        return await super().execute_nexus_operation_start(input)
