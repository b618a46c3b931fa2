"""Inngest's executor by its protocol, for machines that have no dev server: real HTTP in both directions.

It does what the dev server does where the SDK can tell: functions register themselves, events trigger, resume and cancel
runs, each request carries the events and all results so far (sorted keys, as RFC 8785 has them), steps are answered by
opcodes and stored as ``{"data": ...}`` or ``{"error": ...}``. From 4 MiB on the SDK fetches results from the API; a step's
output above 4 MiB and a run above 32 MiB fail. Time passes as it does there, but retries come at once.

What it lacks: cron, queues with concurrency, throttling and priorities, debouncing, and expressions other than ``a == b``.
"""

import asyncio
import itertools
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Json = dict[str, Any]

MAX_OUTPUT = 4 * 2**20
MAX_STATE = 32 * 2**20
MAX_BODY = 4 * 2**20
_RETRIES = 4
_AWAY_SECONDS = 0.1
_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id() -> str:
    """A ULID."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def to_jcs(value: object) -> bytes:
    """JSON as the executor sends it (RFC 8785): keys sorted, whole floats without a fraction."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _plain(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case _:
            return value


@dataclass
class Wait:
    """A step that an event resumes."""

    run: "Run"
    step: str
    event: str
    expression: str | None


@dataclass
class Run:
    """One run of a function."""

    id: str
    function: Json
    events: list[Json]
    steps: dict[str, Any] = field(default_factory=dict)
    status: str = "Running"
    output: Any = None
    is_planned: bool = False
    seen: set[str] = field(default_factory=set)
    pending: set[str] = field(default_factory=set)
    """Steps of this run that are under way, or that wait for something."""
    invoker: tuple["Run", str] | None = None
    requests: list[int] = field(default_factory=list)
    """Bytes of each request, with what the SDK fetched for it."""
    answers: list[int] = field(default_factory=list)

    state: int = 0
    """Bytes of all results and events."""

    def __post_init__(self) -> None:
        self.state = sum(len(to_jcs(event)) for event in self.events)


class Executor:
    """The server's state. All of it belongs to one event loop."""

    def __init__(self) -> None:
        self.functions: dict[str, Json] = {}
        self.runs: dict[str, Run] = {}
        self.by_event: dict[str, list[Run]] = {}
        self._waits: list[Wait] = []
        self._batches: dict[str, list[Json]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def app(self) -> Starlette:
        """Its HTTP face: the event API, the REST API, and what SDKs ask."""
        return Starlette(
            lifespan=self._life,
            routes=[
                Route("/dev", lambda _: Response("{}")),
                Route("/fn/register", self._register, methods=["POST"]),
                Route("/e/{key}", self._receive, methods=["POST"]),
                Route("/v1/events/{event}/runs", self._runs_of),
                Route("/v1/runs/{run}", self._run),
                Route("/v1/runs/{run}", self._cancel, methods=["DELETE"]),
                Route("/v0/runs/{run}/batch", self._batch),
                Route("/v0/runs/{run}/actions", self._actions),
            ],
        )

    @asynccontextmanager
    async def _life(self, _: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(timeout=60) as self._http:
            yield
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _register(self, request: Request) -> Response:
        for function in (await request.json())["functions"]:
            self.functions[function["id"]] = function
        return JSONResponse({"ok": True, "modified": True})

    async def _receive(self, request: Request) -> Response:
        events = await request.json()
        ids = [self._publish(event) for event in (events if isinstance(events, list) else [events])]
        return JSONResponse({"ids": ids, "status": 200})

    async def _runs_of(self, request: Request) -> Response:
        runs = self.by_event.get(request.path_params["event"], [])
        return JSONResponse({"data": [_shown(run) for run in runs]})

    async def _run(self, request: Request) -> Response:
        run = self.runs.get(request.path_params["run"])
        return JSONResponse({"data": _shown(run)}) if run else Response(status_code=404)

    async def _cancel(self, request: Request) -> Response:
        self._end(self.runs[request.path_params["run"]], "Cancelled", {"error": {"message": "cancelled"}})
        return Response(status_code=204)

    async def _batch(self, request: Request) -> Response:
        return self._fetched(request, lambda run: run.events)

    async def _actions(self, request: Request) -> Response:
        return self._fetched(request, lambda run: run.steps)

    def _fetched(self, request: Request, part: Any) -> Response:
        run = self.runs[request.path_params["run"]]
        body = json.dumps(part(run)).encode()
        run.requests[-1] += len(body)
        return Response(body, media_type="application/json")

    def _publish(self, sent: Mapping[str, Any]) -> str:
        event = {"user": {}, **sent, "id": sent.get("id") or new_id(), "data": sent.get("data") or {}}
        event["ts"] = event.get("ts") or time.time_ns() // 1_000_000
        for wait in [wait for wait in self._waits if wait.event == event["name"]]:
            if wait.run.status == "Running" and _holds(wait.expression, wait.run.events[0], event):
                self._waits.remove(wait)
                self._resolve(wait.run, wait.step, event)
        for run in [run for run in self.runs.values() if run.status == "Running"]:
            for cancel in run.function.get("cancel") or ():
                if cancel["event"] == event["name"] and _holds(cancel.get("if"), run.events[0], event):
                    self._end(run, "Cancelled", {"error": {"message": "cancelled"}})
        for function in self.functions.values():
            for trigger in function["triggers"]:
                if trigger.get("event") == event["name"] and _holds(trigger.get("expression"), event, event):
                    self._trigger(function, event)
        return str(event["id"])

    def _trigger(self, function: Json, event: Json) -> None:
        size = (function.get("batchEvents") or {}).get("maxSize", 1)
        batch = self._batches.setdefault(function["id"], [])
        batch.append(event)
        if len(batch) >= size:
            del self._batches[function["id"]]
            self._start(function, batch)

    def _start(self, function: Json, events: list[Json], invoker: tuple[Run, str] | None = None) -> None:
        run = Run(new_id(), function, events, invoker=invoker)
        self.runs[run.id] = run
        for event in events:
            self.by_event.setdefault(event["id"], []).append(run)
        self._go_on(run)

    def _go_on(self, run: Run, step: str = "step") -> None:
        self._do(self._carry_on(run, step))

    def _do(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_on(self, run: Run, step: str) -> None:
        runtime = run.function["steps"]["step"]
        retries = (runtime.get("retries") or {}).get("attempts", _RETRIES)
        for attempt in itertools.count():
            answer = await self._ask(run, step, attempt, retries + 1, runtime["runtime"]["url"])
            if run.status != "Running":
                return
            body = answer.json()
            is_last = attempt >= retries or answer.headers.get("x-inngest-no-retry") == "true"
            if answer.status_code == 206:
                if self._obey(run, body, is_last=is_last):
                    return
            elif answer.status_code == 200:
                self._end(run, "Completed", {"data": body})
                return
            elif is_last:
                self._end(run, "Failed", {"error": body})
                return

    async def _ask(self, run: Run, step: str, attempt: int, attempts: int, url: str) -> httpx.Response:
        """The function's answer. Whoever serves it may be away for a while: that is no attempt here."""
        body = self._request(run, attempt, attempts)
        address = httpx.URL(url).copy_set_param("stepId", step)
        headers = {"content-type": "application/json", "x-inngest-server-kind": "dev", "x-run-id": run.id}
        while True:
            run.requests.append(len(body))
            try:
                answer = await self._http.post(address, content=body, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(_AWAY_SECONDS)
                continue
            run.answers.append(len(answer.content))
            return answer

    def _request(self, run: Run, attempt: int, attempts: int) -> bytes:
        ctx = {
            "attempt": attempt,
            "disable_immediate_execution": run.is_planned,
            "env": "dev",
            "fn_id": run.function["id"],
            "max_attempts": attempts,
            "run_id": run.id,
            "stack": {"stack": list(run.steps), "current": len(run.steps)},
            "step_id": "step",
            "use_api": False,
        }
        request = {"ctx": ctx, "event": run.events[0], "events": run.events, "steps": run.steps}
        if run.state < MAX_BODY:
            body = to_jcs({**request, "use_api": False, "version": 2})
            if len(body) <= MAX_BODY:
                return body
        # Then the SDK fetches what is missing here.
        ctx["use_api"] = True
        return to_jcs({**request, "events": [], "steps": {}, "use_api": True, "version": 2})

    def _obey(self, run: Run, operations: list[Json], *, is_last: bool) -> bool:
        """Do what an answer says. False if it has to be asked again."""
        if any(operation["op"] == "StepError" for operation in operations) and not is_last:
            return False
        if len(operations) > 1:
            run.is_planned = True
        new = [item for item in operations if item["id"] not in run.seen or item["op"].startswith("Step")]
        for operation in new:
            run.seen.add(operation["id"])
            run.pending.add(operation["id"])
        for operation in new:
            self._operate(run, operation)
        return True

    def _operate(self, run: Run, operation: Json) -> None:
        step, opts = operation["id"], operation.get("opts") or {}
        match operation["op"]:
            case "StepRun":
                self._resolve(run, step, {"data": operation.get("data")})
            case "StepError" | "StepFailed":
                self._resolve(run, step, {"error": operation["error"]})
            case "StepPlanned":
                self._go_on(run, step)
            case "Sleep":
                until = datetime.fromisoformat(operation["name"])
                self._do(self._later(run, step, until.timestamp() - time.time()))
            case "WaitForEvent":
                wait = Wait(run, step, operation["name"], opts.get("if"))
                self._waits.append(wait)
                self._do(self._give_up(wait, _seconds(opts["timeout"])))
            case "InvokeFunction":
                self._invoke(run, step, opts)
            case other:
                raise NotImplementedError(other)

    def _invoke(self, run: Run, step: str, opts: Json) -> None:
        function = self.functions.get(opts["function_id"])
        if function is None:
            self._resolve(run, step, {"error": {"name": "Error", "message": "could not find function"}})
            return
        data = {**(opts["payload"].get("data") or {}), "_inngest": {"source_fn_id": run.function["id"]}}
        event: Json = {"data": data, "id": new_id(), "name": "inngest/function.invoked", "user": {}}
        event["ts"] = time.time_ns() // 1_000_000
        self._start(function, [event], invoker=(run, step))

    async def _later(self, run: Run, step: str, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
        self._resolve(run, step, None)

    async def _give_up(self, wait: Wait, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if wait in self._waits:
            self._waits.remove(wait)
            self._resolve(wait.run, wait.step, None)

    def _resolve(self, run: Run, step: str, result: Any) -> None:
        """A step has its result: on with the run, once no other one of its group is under way."""
        if run.status != "Running":
            return
        size = len(to_jcs(result))
        if size > MAX_OUTPUT or run.state + size > MAX_STATE:
            what = "step output size is greater than the limit" if size > MAX_OUTPUT else "state overflowed"
            self._end(run, "Failed", {"error": {"name": "Error", "message": what}})
            return
        run.steps[step] = result
        run.state += size
        run.pending.discard(step)
        if not run.pending:
            self._go_on(run)

    def _end(self, run: Run, status: str, result: Json) -> None:
        if run.status != "Running":
            return
        run.status, run.output = status, result.get("data", result.get("error"))
        self._waits = [wait for wait in self._waits if wait.run is not run]
        if run.invoker is not None:
            self._resolve(*run.invoker, result)
        if run.events[0]["name"] in ("inngest/function.failed", "inngest/function.finished"):
            return
        data = {"function_id": run.function["id"], "run_id": run.id, "events": run.events}
        data |= {"event": run.events[0], "_inngest": {"status": status}}
        data |= {"result": result["data"]} if "data" in result else {"error": result["error"]}
        names = {"Failed": ["finished", "failed"], "Cancelled": ["finished", "cancelled"]}
        for name in names.get(status, ["finished"]):
            self._publish({"name": f"inngest/function.{name}", "data": data})


def _shown(run: Run) -> Json:
    return {"run_id": run.id, "status": run.status, "output": run.output, "function_id": run.function["id"]}


def _seconds(duration: str) -> float:
    return sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"(\d+)([wdhms])", duration))


def _holds(expression: str | None, event: Json, other: Json) -> bool:
    """Whether ``a == b`` is so, each a path below ``event`` or ``async``, or a literal."""
    if not expression:
        return True
    left, right = (_value(part.strip(), event, other) for part in expression.split("=="))
    return bool(left == right)


def _value(text: str, event: Json, other: Json) -> Any:
    if not text.startswith(("event.", "async.")):
        return json.loads(text.replace("'", '"'))
    root, *path = re.sub(r"""\[['"](\w+)['"]\]""", r".\1", text).split(".")
    value: Any = event if root == "event" else other
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
