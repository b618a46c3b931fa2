"""An agent of the OpenAI Agents SDK as a workflow."""

from agents import Agent, Runner
from temporalio import workflow


@workflow.defn
class Ask:
    """One question to a model, whose calls the plug-in runs as activities."""

    @workflow.run
    async def run(self, question: str) -> str:
        result = await Runner.run(Agent(name="clerk", instructions="Answer."), question)
        return str(result.final_output)
