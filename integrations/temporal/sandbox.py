"""The only part of coatcheck that runs inside the workflow sandbox: it writes notes, and nothing else.

The sandbox imports modules again for each workflow, and some libraries break when loaded twice in a process: deriving a
key in there failed every workflow task with a ``SystemError`` from ``cryptography``. So no code of ours computes or
imports in there. Facts about a workflow that the codec needs, which runs outside, are put into a plain queue by a
function of the interpreter itself.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from temporalio import workflow
from temporalio.worker import (
    ExecuteWorkflowInput,
    HandleQueryInput,
    SignalExternalWorkflowInput,
    StartChildWorkflowInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

_REPLAYED: Final = "coatcheck_replayed"
_QUERIED: Final = "coatcheck_queried"
_MOST: Final = 1024
"""Most notes that are kept: an older unread one is of no use any more."""

_Workflow = tuple[str, str]
"""Namespace and workflow ID."""


class Notes:
    """Notes by a process's workflows on themselves, until the codec takes them. Safe for any number of threads."""

    def __init__(self) -> None:
        self._replayed: deque[_Workflow] = deque(maxlen=_MOST)
        self._queried: deque[_Workflow] = deque(maxlen=_MOST)

    def interceptor_class(self, given: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        """Return the interceptor that writes these notes, and make the sandbox let them out."""
        given.unsafe_extern_functions[_REPLAYED] = self._replayed.append
        given.unsafe_extern_functions[_QUERIED] = self._queried.append
        return _Inbound

    def take_replayed(self) -> Iterator[_Workflow]:
        """Take the notes on workflows that are replayed, and on those that they write to."""
        try:
            while True:
                yield self._replayed.popleft()
        except IndexError:
            return

    def take_query(self, workflow: _Workflow) -> bool:
        """Take the note that the workflow answered a query, if there is one."""
        try:
            self._queried.remove(workflow)
        except ValueError:
            return False
        return True


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002 - the SDK's signature
        info = workflow.info()
        _note_replay(info.namespace, info.workflow_id)
        return await super().execute_workflow(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:  # noqa: A002 - the SDK's signature
        answer = await super().handle_query(input)
        info = workflow.info()
        _note(_QUERIED, info.namespace, info.workflow_id)
        return answer


class _Outbound(WorkflowOutboundInterceptor):
    """Note children and targets of signals: they have scopes of their own, to which this workflow writes as well."""

    async def start_child_workflow(
        self,
        input: StartChildWorkflowInput,  # noqa: A002 - the SDK's signature
    ) -> workflow.ChildWorkflowHandle[Any, Any]:
        _note_replay(workflow.info().namespace, input.id)
        return await super().start_child_workflow(input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:  # noqa: A002 - the SDK's signature
        _note_replay(input.namespace, input.workflow_id)
        await super().signal_external_workflow(input)


def _note_replay(namespace: str, workflow_id: str) -> None:
    if workflow.unsafe.is_replaying():
        _note(_REPLAYED, namespace, workflow_id)


def _note(what: str, namespace: str, workflow_id: str) -> None:
    append: Callable[[_Workflow], None] = workflow.extern_functions()[what]
    append((namespace, workflow_id))
