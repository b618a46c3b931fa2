"""Services whose values go from one invocation to another, and stay there when the first one is gone."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from restate import Context, ObjectContext, Service, VirtualObject, Workflow

from tests.integrations.restate.agents import text
from tests.integrations.restate.handlers import add_recall_and_forget, add_run_and_decide

LATER = timedelta(hours=1)


@dataclass
class HandingOn:
    """The services of one test."""

    gates: dict[str, str] = field(default_factory=dict)
    """Awakeables that something waits for now, by name."""
    tools: Service = field(default_factory=lambda: Service("HandingTools"))
    memory: VirtualObject = field(default_factory=lambda: VirtualObject("HandingMemory"))
    review: Workflow = field(default_factory=lambda: Workflow("HandingReview"))

    def __post_init__(self) -> None:
        self.h: dict[str, Any] = add_recall_and_forget(self.memory) | add_run_and_decide(self.review)
        self._tools()
        self._memory()

    @property
    def services(self) -> list[Any]:
        return [self.tools, self.memory, self.review]

    def _tools(self) -> None:
        @self.tools.handler()
        async def answer(ctx: Context, question: str) -> str:
            await ctx.run_typed("think", lambda: text("thought of " + question))
            return text("answer to " + question)

        @self.tools.handler(journal_retention=timedelta(0), idempotency_retention=LATER)
        async def brief(ctx: Context, question: str) -> str:
            return text("brief " + question)

        @self.tools.handler()
        async def plan(ctx: Context, key: str) -> None:
            ctx.object_send(self.h["remember"], key, text("planned " + key), send_delay=LATER)

        @self.tools.handler()
        async def queue(ctx: Context, key: str) -> None:
            ctx.object_send(self.h["remember"], key, text("queued " + key))

        @self.tools.handler()
        async def approve(ctx: Context, gate: str) -> None:
            ctx.resolve_awakeable(gate, text("because"))

        self.h |= {"answer": answer, "brief": brief, "plan": plan, "queue": queue, "approve": approve}

    def _memory(self) -> None:
        @self.memory.handler()
        async def remember(ctx: ObjectContext, value: str) -> None:
            ctx.set("last", value)

        @self.memory.handler()
        async def hold(ctx: ObjectContext, question: str) -> str:
            """Keep an answer and a reason of others in the journal, and the object's lock, until the last gate opens."""
            answer = await ctx.service_call(self.h["answer"], question)
            reason = await self._at(ctx, "reason")
            return f"{answer}{reason}{await self._at(ctx, 'end')}"

        self.h |= {"remember": remember, "hold": hold}

    async def _at(self, ctx: ObjectContext, gate: str) -> str:
        name, opened = ctx.awakeable(type_hint=str)
        self.gates[f"{ctx.key()}/{gate}"] = name
        return await opened
