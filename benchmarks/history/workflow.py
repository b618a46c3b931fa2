"""The demo's agent, and one that waits when it has said everything."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from coatcheck.cli.demo.agent import AgentWorkflow, Talk
    from coatcheck.cli.demo.conversation import Message


@workflow.defn
class WaitingAgentWorkflow:
    """The conversation of :class:`AgentWorkflow`; ends when it is told to."""

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
        """Do not wait any longer."""
        self._told = True
