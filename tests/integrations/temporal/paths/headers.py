"""An interceptor that sends arguments in headers, as context propagation sends what it has to."""

from typing import Any

from temporalio.client import Interceptor as ClientInterceptor
from temporalio.client import OutboundInterceptor, StartWorkflowInput, WorkflowHandle
from temporalio.converter import PayloadConverter
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import ActivityHandle

_NAME = "note"


class HeaderInterceptor(ClientInterceptor, Interceptor):
    """The argument of workflows and activities goes by a header, and is put in its place again where it arrives."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's name
        return _Client(next)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - as above
        return _Activity(next)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type["_Workflow"]:  # noqa: A002 - as above
        return _Workflow


class _Client(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002 - as above
        _into_header(input)
        return await super().start_workflow(input)


class _Workflow(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002 - as above
        _out_of_header(input)
        return await super().execute_workflow(input)


class _Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:  # noqa: A002 - as above
        _into_header(input)
        return super().start_activity(input)


class _Activity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - as above
        _out_of_header(input)
        return await super().execute_activity(input)


def _into_header(call: StartWorkflowInput | StartActivityInput) -> None:
    payload = PayloadConverter.default.to_payload(call.args[0])
    call.headers = {**call.headers, _NAME: payload}
    call.args = ["in the header"]


def _out_of_header(call: ExecuteWorkflowInput | ExecuteActivityInput) -> None:
    call.args = [PayloadConverter.default.from_payload(call.headers[_NAME], str)]
