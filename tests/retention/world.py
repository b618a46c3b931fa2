"""A store, an engine and clocks that stand still until they are told to go on, so that anything can happen between.

Every request to the store waits until it is carried out, and its answer waits until it is handed over. Time passes only
where it is moved; a request is under way for 10 minutes at most, and a payload is journaled within two hours of its writing.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coatcheck import Chain, Encrypt, Key, Keyring, Offload, PayloadCache, PayloadNotFound, Scope, Store, Zstd
from coatcheck.contracts.store import DEFAULT_LIMIT, StoredObject, check_key
from coatcheck.retention.live import LiveRuns
from coatcheck.retention.rules import RetentionRules
from coatcheck.retention.sweep import Sweep
from coatcheck.retention.tally import Report
from coatcheck.storage import conditions
from coatcheck.storage.prefixes import ScopePrefixes
from tests.retention import calendars
from tests.retention.sweeping import ENGINE, GRACE, TENANT, scope_of

REQUEST = timedelta(minutes=10)
"""As long as a request can be under way."""
WRITING = timedelta(hours=2)
"""As long as it can take from the writing of a payload until its reference is journaled."""
UNSEEN = timedelta(minutes=30)
"""As long as the engine does not show a run that was started."""
_PAGE = 3
_MODULES = (
    "storage.prefetch",
    "storage.scoped_store",
    "retention.reaper",
    "retention.sweep",
)
_KEYRING = Keyring(Key(bytes(range(32))))
_START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(eq=False)
class Request:
    """Something that a store or an engine was asked."""

    action: Callable[[], Any]
    answer: "asyncio.Future[Any]"
    asker: "Asker"
    issued: timedelta
    result: Any = None
    done: bool = False

    def carry_out(self) -> None:
        if not self.done:
            self.done = True
            try:
                self.result = self.action()
            except PayloadNotFound as error:
                self.result = error

    def hand_over(self) -> None:
        self.carry_out()
        if self.answer.done():
            return
        if isinstance(self.result, Exception):
            self.answer.set_exception(self.result)
        else:
            self.answer.set_result(self.result)


class Asker:
    """A process: it can be killed with everything that it is in the middle of."""

    def __init__(self, world: "World", skew: timedelta = timedelta()) -> None:
        self.world = world
        self.skew = skew
        """By how much its calendar is wrong."""
        self.store = GatedStore(self)
        # It would take requests of their own to find that out, which are no part of the protocol.
        conditions._proven[id(self.store)] = self.store
        self.tasks: dict[asyncio.Task[Any], timedelta] = {}
        """With the time at which each began."""
        self.killed = False

    def begin(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        context = copy_context()
        context.run(_running.set, self)
        task = self.world.loop.create_task(work, context=context)
        self.tasks[task] = self.world.elapsed
        task.add_done_callback(self.world.note)
        return task

    @property
    def busy(self) -> bool:
        return any(not task.done() for task in self.tasks)

    def kill(self) -> None:
        """Now. What it asked may still be carried out, for as long as a request can be under way."""
        self.killed = True
        for task in self.tasks:
            task.cancel()


_running: ContextVar[Asker | None] = ContextVar("running", default=None)


class Worker(Asker):
    """Writes and reads payloads, with what it remembers of them."""

    def __init__(self, world: "World", skew: timedelta = timedelta()) -> None:
        super().__init__(world, skew)
        self.chain = Chain(
            Zstd(),
            Encrypt(_KEYRING),
            Offload(self.store, over=256, deadline=1e9),
            cache=PayloadCache(2**20),
        )


class GatedStore(Store):
    """One process's way to the store that all share."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._world = asker.world

    async def create(self, key: str, data: bytes) -> bool:
        def act() -> bool:
            if key in self._world.objects:
                return False
            self._world.objects[key] = (data, self._world.now)
            return True

        check_key(key)
        return bool(await self._world.ask(self._asker, act))

    async def replace(self, key: str, data: bytes) -> None:
        await self._world.ask(self._asker, lambda: self._world.objects.update({key: (data, self._world.now)}))

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        def act() -> bytes:
            if key not in self._world.objects:
                raise PayloadNotFound("gone", "", key)
            return self._world.objects[key][0]

        data: bytes = await self._world.ask(self._asker, act)
        return data

    async def delete(self, key: str) -> None:
        await self._world.ask(self._asker, lambda: self._world.objects.pop(key, None))

    async def list_objects(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        """Page by page, by key: what changes behind the last one is seen, what changes before it is not."""
        after = ""
        while True:

            def act(after: str = after) -> list[StoredObject]:
                found = sorted(key for key in self._world.objects if key.startswith(prefix) and key > after)
                return [
                    StoredObject(key, len(self._world.objects[key][0]), self._world.objects[key][1])
                    for key in found[:_PAGE]
                ]

            page: list[StoredObject] = await self._world.ask(self._asker, act)
            for entry in page:
                yield entry
            if len(page) < _PAGE:
                return
            after = page[-1].key


@dataclass(eq=False)
class Run:
    """One run of a workflow: what its journal refers to."""

    workflow: str
    started: timedelta
    journal: list[tuple[bytes, bytes]] = field(default_factory=list)
    """What stands there for which payload."""

    def record(self, encoded: bytes, payload: bytes) -> None:
        if (encoded, payload) not in self.journal:
            self.journal.append((encoded, payload))


class World:
    """All of it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.requests: list[Request] = []
        self.runs: list[Run] = []
        self.failures: list[BaseException] = []
        self.elapsed = timedelta()
        self.wobble = timedelta()
        """By how much the store's clock is wrong at the moment."""

    @property
    def now(self) -> datetime:
        """By the store's clock."""
        return _START + self.elapsed + self.wobble

    def lead_clocks(self, patch: pytest.MonkeyPatch) -> None:
        """Until ``patch`` is undone, all clocks and calendars of coatcheck are this world's, and no call has a deadline."""
        calendars.lead(patch, self.calendar)
        for module in _MODULES:
            patch.setattr(f"coatcheck.{module}.boottime", self.boottime)
        for module in ("reaper", "sweep"):
            patch.setattr(f"coatcheck.retention.{module}.REQUEST_SECONDS", 1e9)

    def boottime(self) -> float:
        """What processes measure waiting with."""
        return self.elapsed.total_seconds()

    def calendar(self) -> datetime:
        """What the process that asks takes for the time: as far from the store's as its own is wrong."""
        asker = _running.get()
        return _START + self.elapsed + (asker.skew if asker is not None else timedelta())

    async def ask(self, asker: Asker, action: Callable[[], Any]) -> Any:
        request = Request(action, self.loop.create_future(), asker, self.elapsed)
        self.requests.append(request)
        return await request.answer

    def note(self, task: "asyncio.Task[Any]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.failures.append(error)

    def settle(self) -> None:
        """Let everybody go on until they all wait for an answer."""

        async def idle() -> None:
            quiet = 0
            before = -1
            while quiet < 12:
                await asyncio.sleep(0)
                state = len(self.requests)
                quiet = quiet + 1 if state == before else 0
                before = state

        self.loop.run_until_complete(idle())
        self.requests = [request for request in self.requests if not (request.done and request.answer.done())]

    def finish(self, asker: Asker) -> None:
        """Answer one process until it has nothing more to do."""
        while asker.busy:
            self.settle()
            for request in [request for request in self.requests if request.asker is asker]:
                request.hand_over()

    def pass_time(self, span: timedelta) -> None:
        """What takes longer than it can is over first: requests are carried out, writers are killed."""
        for request in self.requests:
            if self.elapsed + span - request.issued > REQUEST:
                request.carry_out()
        for request in self.requests:
            worker = request.asker
            begun = min((at for task, at in worker.tasks.items() if not task.done()), default=self.elapsed)
            if isinstance(worker, Worker) and self.elapsed + span - begun > WRITING:
                worker.kill()
        self.settle()
        self.elapsed += span

    def sweep(self, asker: Asker) -> Awaitable[Report]:
        prefixes = ScopePrefixes(Worker(self).chain.sealings)
        rules = RetentionRules(grace=GRACE, idle=GRACE)
        return Sweep(
            asker.store,
            prefixes,
            _Visible(self, asker),
            engine=ENGINE,
            tenants=(TENANT,),
            rules=rules,
            max_share=1,
            no_runs=(TENANT,),
        ).run()

    def seen(self) -> list[str]:
        """The workflows that the engine shows."""
        return [run.workflow for run in self.runs if self.elapsed - run.started >= UNSEEN]

    def close(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.settle()
        self.loop.close()


class _Visible(LiveRuns):
    engine = ENGINE
    tenants = (TENANT,)

    def __init__(self, world: World, asker: Asker) -> None:
        self._world = world
        self._asker = asker

    async def scopes(self) -> AsyncIterator[Scope]:
        for workflow in await self._world.ask(self._asker, self._world.seen):
            yield scope_of(workflow)
