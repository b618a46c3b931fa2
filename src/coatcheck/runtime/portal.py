"""Synchronous calls of asynchronous work: begun in the calling thread, finished on the process's one background loop.

A call runs in the calling thread as long as it does not have to wait. When it has to, :func:`on_loop` hands the rest, with
its context, to an event loop in a thread of its own, and the calling thread waits for the result.
"""

import asyncio
import atexit
import sys
import threading
from collections.abc import Coroutine, Generator
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from types import coroutine
from typing import Any, Final, Generic, TypeVar

from coatcheck.errors import ConfigError
from coatcheck.runtime.forks import abandon, after_fork, new_lock

_T = TypeVar("_T")

_LAST_SECONDS: Final = 2.0
"""Seconds that the interpreter waits at its end for cancelled work and for connections to close."""

_held_up: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("coatcheck_held_up", default=None)
"""The event loop whose thread waits for the work."""


def run_blocking(work: Coroutine[Any, Any, _T]) -> _T:
    """Run ``work`` on the background loop while this thread waits, and return its result.

    Safe to call from any thread, also inside a running event loop, which it blocks. The work sees the caller's context
    variables. An interrupt of the waiting thread, such as ``KeyboardInterrupt``, cancels the work.

    Args:
        work: A coroutine that has not begun.

    Raises:
        ConfigError: This is the background loop's own thread, which would wait for itself; or the interpreter is ending.
        BaseException: As ``work``.
    """
    return run_eagerly(_on_loop_first(work))


def run_eagerly(work: Coroutine[Any, Any, _T]) -> _T:
    """Run ``work`` as :func:`run_blocking` does, but begin in this thread, and end here if it never has to wait.

    Args:
        work: A coroutine that has not begun. Until it awaits :func:`on_loop`, it has no running event loop.
    """
    context = copy_context()
    caller = asyncio._get_running_loop()  # noqa: SLF001 - as asyncio's own run() asks
    try:
        if caller is None:
            context.run(work.send, None)
        else:
            _begin_without(caller, work, context)
    except StopIteration as done:
        result: _T = done.value
        return result
    return _background.finish(work, context, caller)


@coroutine
def on_loop() -> Generator[None, None, asyncio.AbstractEventLoop]:
    """Return the running event loop. A synchronous call that has none yet continues on the background loop.

    Code that may run in :func:`run_eagerly` awaits this before it uses an event loop, or calls code of others that may.
    """
    if asyncio._get_running_loop() is None:  # noqa: SLF001 - as asyncio's own run() asks
        yield
    return asyncio.get_running_loop()


def is_background() -> bool:
    """Return True on the background loop."""
    loop = asyncio._get_running_loop()  # noqa: SLF001 - as asyncio's own run() asks
    return loop is not None and loop is _background.running


def is_held_up(loop: asyncio.AbstractEventLoop) -> bool:
    """Return True if ``loop`` waits for the calling work, which then must not wait for ``loop``."""
    return _held_up.get() is loop


def _begin_without(
    caller: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, _T], context: Context
) -> None:
    """Begin the work without the caller's loop, which could not continue it."""
    context.run(_held_up.set, caller)
    hooks = sys.get_asyncgen_hooks()
    try:
        asyncio._set_running_loop(None)  # noqa: SLF001 - what follows is driven by hand, as by a loop
        sys.set_asyncgen_hooks(None, None)
        context.run(work.send, None)
    finally:
        sys.set_asyncgen_hooks(*hooks)
        asyncio._set_running_loop(caller)  # noqa: SLF001 - as above


class _Background:
    """The process's event loop in a thread of its own; started on first use, ended with the interpreter."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self.running: asyncio.AbstractEventLoop | None = None
        self.ends = False
        """True while the interpreter ends: threads that still wait are daemons, and get no result."""
        self._thread: threading.Thread | None = None
        # Threads do not survive a fork.
        after_fork(self._renew)
        atexit.register(self._end)

    def finish(
        self, work: Coroutine[Any, Any, _T], context: Context, caller: asyncio.AbstractEventLoop | None
    ) -> _T:
        """Continue work that was begun in ``context``, and wait for its result."""
        if caller is not None and caller is self.running:
            context.run(work.close)
            raise ConfigError(
                "this is called where coatcheck itself waits for it",
                "Use the asynchronous method, and await it.",
            )
        call = _Call(work, context)
        try:
            call.begin_on(self.running or self._start())
            return call.outcome.result()
        except BaseException as error:
            call.cancel()
            if isinstance(error, RuntimeError) and not threading.main_thread().is_alive():
                raise ConfigError(
                    "the interpreter is ending, and nothing can be begun in a thread any more",
                    "End the threads that use coatcheck before the main thread.",
                ) from error
            raise
        finally:
            del call  # the error has this frame, and the call has the error

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self.running is None:
                loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_serve, args=(loop,), name="coatcheck-background", daemon=True
                )
                self._thread.start()
                self.running, self.ends = loop, False
            return self.running

    def _renew(self) -> None:
        abandon(self.running)
        self.running = self._thread = None

    def _end(self) -> None:
        self.ends = True
        loop, thread, self.running = self.running, self._thread, None
        if loop is None or thread is None:
            return
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_clean_up(), loop).result(_LAST_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_LAST_SECONDS)
        if not thread.is_alive():
            loop.close()


class _Call(Generic[_T]):
    """The rest of one call's work, for which a thread waits."""

    def __init__(self, work: Coroutine[Any, Any, _T], context: Context) -> None:
        self.outcome: Future[_T] = Future()
        self._work = work
        self._context = context
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[_T] | None = None

    def begin_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.call_soon_threadsafe(self._begin, loop)

    def cancel(self) -> None:
        """Cancel the work, unless it has ended."""
        if self._loop is not None and not self.outcome.done():
            with suppress(RuntimeError):  # the loop ended with the interpreter
                self._loop.call_soon_threadsafe(self._cancel)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._task = loop.create_task(_rest_of(self._work), context=self._context)
        self._task.add_done_callback(self._end, context=self._context)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _end(self, task: asyncio.Task[_T]) -> None:
        self._work.close()  # it is where it was left if the task was cancelled before it began
        if not task.cancelled():
            error = task.exception()
            if error is None:
                self.outcome.set_result(task.result())
            else:
                self.outcome.set_exception(error)
        elif not _background.ends:
            self.outcome.cancel()


async def _on_loop_first(work: Coroutine[Any, Any, _T]) -> _T:
    try:
        await on_loop()
    except BaseException:
        work.close()
        raise
    return await work


async def _rest_of(work: Coroutine[Any, Any, _T]) -> _T:
    return await _resumed(work)


@coroutine
def _resumed(work: Coroutine[Any, Any, _T]) -> Generator[Any, Any, _T]:
    """Continue ``work``, which cannot be awaited, since it has begun."""
    result: _T = yield from work
    return result


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        try:
            loop.run_forever()
        except (KeyboardInterrupt, SystemExit):
            # asyncio leaves its loop with what one call has raised, and been given: the others go on.
            continue
        return


async def _clean_up() -> None:
    """Cancel all tasks, and close open connections."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


_background: Final = _Background()
