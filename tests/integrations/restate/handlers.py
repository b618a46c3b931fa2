"""Handlers that services of several tests have; each service needs its own, under its own name."""

from typing import Any

from restate import ObjectContext, VirtualObject, Workflow, WorkflowContext, WorkflowSharedContext


def add_recall_and_forget(memory: VirtualObject) -> dict[str, Any]:
    """Of the state ``last``."""

    @memory.handler(kind="shared")
    async def recall(ctx: ObjectContext) -> str:
        return await ctx.get("last", type_hint=str) or ""

    @memory.handler()
    async def forget(ctx: ObjectContext) -> None:
        ctx.clear_all()

    return {"recall": recall, "forget": forget}


def add_run_and_decide(workflow: Workflow) -> dict[str, Any]:
    """One waits for the verdict that the other one gives."""

    @workflow.main()
    async def run(ctx: WorkflowContext, request: str) -> str:
        return request + await ctx.promise("verdict", type_hint=str).value()

    @workflow.handler()
    async def decide(ctx: WorkflowSharedContext, verdict: str) -> None:
        await ctx.promise("verdict", type_hint=str).resolve(verdict)

    return {"run": run, "decide": decide}
