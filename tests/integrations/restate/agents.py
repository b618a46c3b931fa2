"""Services that use every way in which Restate journals a value."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

from restate import Context, ObjectContext, Service, VirtualObject, Workflow

from tests.integrations.restate.handlers import add_recall_and_forget, add_run_and_decide

SECRET = "correct horse battery staple"


def text(name: str, size: int = 4000) -> str:
    """Hardly compressible, different for each name, and with something in it that must not be seen."""
    words = (hashlib.sha256(f"{name} {number}".encode()).hexdigest() for number in range(size // 64 + 1))
    return SECRET + "".join(words)[:size]


@dataclass
class World:
    """The services of one test, and what they did outside of the journal."""

    actions: Counter[str] = field(default_factory=Counter)
    gate: str = ""
    name: str = field(default_factory=lambda: uuid4().hex)
    """Of the objects: what another test has left behind must not stand in the way."""
    memory: VirtualObject = field(default_factory=lambda: VirtualObject("Memory"))
    tools: Service = field(default_factory=lambda: Service("Tools"))
    agent: Service = field(default_factory=lambda: Service("Agent"))
    approval: Workflow = field(default_factory=lambda: Workflow("Approval"))

    def __post_init__(self) -> None:
        self.h: dict[str, Any] = add_recall_and_forget(self.memory) | add_run_and_decide(self.approval)
        self._memory()
        self._tools()
        self._agent()

    @property
    def services(self) -> list[Any]:
        return [self.memory, self.tools, self.agent, self.approval]

    def act(self, name: str, size: int = 4000) -> str:
        """Something that costs money."""
        self.actions[name] += 1
        return text(name, size)

    def _memory(self) -> None:
        @self.memory.handler()
        async def remember(ctx: ObjectContext, value: str) -> str:
            before = await ctx.get("last", type_hint=str) or ""
            ctx.set("last", value)
            assert await ctx.get("last", type_hint=str) == value
            ctx.set("gone", value + "gone")
            assert await ctx.state_keys() == ["gone", "last"]
            ctx.clear("gone")
            gone: str | None = await ctx.get("gone", type_hint=str)
            assert gone is None
            return before

        self.h["remember"] = remember

    def _tools(self) -> None:
        @self.tools.handler()
        async def tool(ctx: Context, question: str) -> str:
            return await ctx.run_typed("tool", lambda: self.act("tool:" + question[-20:])) + question

        @self.tools.handler()
        async def approve(ctx: Context, request: dict[str, str]) -> None:
            ctx.resolve_awakeable(request["gate"], request["reason"])

        self.h |= {"tool": tool, "approve": approve}

    def _agent(self) -> None:
        @self.agent.handler()
        async def work(ctx: Context, task: str) -> str:
            thought = await ctx.run_typed("think", lambda: self.act("think"))
            answer = await ctx.service_call(self.h["tool"], thought)
            ctx.object_send(self.h["remember"], self.name, answer)
            ctx.object_send(
                self.h["remember"], self.name + "later", answer, send_delay=timedelta(milliseconds=50)
            )
            gate, approved = ctx.awakeable(type_hint=str)
            ctx.service_send(self.h["approve"], {"gate": gate, "reason": text("because")})
            reason = await approved
            return f"{task}{thought}{answer}{reason}"

        @self.agent.handler()
        async def wait(ctx: Context, task: str) -> str:
            self.gate, approved = ctx.awakeable(type_hint=str)
            return task + await approved

        @self.agent.handler()
        async def large(ctx: Context, size: int) -> int:
            return len(await ctx.run_typed("large", lambda: self.act("large", size)))

        self.h |= {"work": work, "wait": wait, "large": large}

    def work_of(self, task: str) -> str:
        """What ``work`` has to come to."""
        thought = text("think")
        answer = text("tool:" + thought[-20:]) + thought
        return task + thought + answer + text("because")
