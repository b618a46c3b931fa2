"""The demo's agent, and one that waits at the end."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from coatcheck.cli.demo.agent import AgentWorkflow, Talk
    from coatcheck.cli.demo.conversation import Message


@workflow.defn
class WaitingAgentWorkflow:
    """The conversation of :class:`AgentWorkflow`; ends on a signal."""

    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self, talk: Talk) -> list[Message]:
        """Hold the conversation, then wait."""
        said = await AgentWorkflow().run(talk)
        await workflow.wait_condition(lambda: self._told)
        return said

    @workflow.signal
    def end(self) -> None:
        """Stop waiting."""
        self._told = True
