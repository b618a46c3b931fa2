"""Says what is a broken promise."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from coatcheck import MemoryStore, Store
from tests.machine.oracle import Oracle, Promise
from tests.machine.process import Answer, Process, Setting

_CLAIM_LASTS: Final = timedelta(hours=1)


class BrokenPromiseError(AssertionError):
    """Something that coatcheck promises did not hold."""


class Judge:
    """Opens what was acknowledged in a process that has nothing in memory and no copies.

    Args:
        oracle: Knows what that is.
        store: The shared one, without a fault.
        run: Carries out what is awaited.
        kinds: Of sweeps that there are.
    """

    def __init__(
        self,
        oracle: Oracle,
        store: Store,
        run: Callable[[Awaitable[Any]], Any],
        kinds: frozenset[str],
    ) -> None:
        self._oracle = oracle
        self._store = store
        self._run = run
        self._kinds = kinds
        self.together = False
        """Whether what is judged happened at the same time as other things."""
        self._finished: set[str] = set()
        self._disturbed_at: timedelta | None = None

    @property
    def disturbed(self) -> bool:
        """Whether a sweep was interrupted, or others went on at the same time, and none has finished what it began."""
        return self._disturbed_at is not None

    def disturb(self) -> None:
        self._disturbed_at = self._oracle.elapsed
        self._finished.clear()

    def swept(self, kind: str) -> None:
        """A sweep went through, and was alone."""
        at = self._disturbed_at
        if at is not None and self._oracle.elapsed - at > _CLAIM_LASTS:
            self._finished.add(kind)
            if self._finished >= self._kinds:
                self._disturbed_at = None

    def value_of(self, answer: Answer, what: str) -> Any:
        """What was given; None where it is right to ask for patience."""
        if not answer.error:
            return answer.value
        if self.disturbed and answer.retryable:
            return None
        raise BrokenPromiseError(f"{what}: {answer.error}: {answer.said}")

    def check_opened(self, promise: Promise, answer: Answer, where: str) -> None:
        if answer.error and promise not in set(self._oracle.promises()):
            return  # a sweep that went on at the same time was allowed to take it
        if answer.error:
            said = f"{answer.error}: {answer.said}"
            raise BrokenPromiseError(f"acknowledged for {promise.opener}, and {where} cannot open it: {said}")
        if answer.value != promise.data:
            raise BrokenPromiseError(f"acknowledged for {promise.opener}, and {where} opens other bytes")

    def open_anew(self, promises: Iterable[Promise]) -> None:
        """Each has to open in a fresh process."""
        process = Process(Setting(), self._store, MemoryStore(), Path())

        async def opened() -> None:
            for promise in promises:
                answer = await process.call("open", (promise.opener, promise.reference))
                self.check_opened(promise, answer, "a fresh process")

        self._run(opened())

    def audit(self) -> None:
        """Everything has to open in a fresh process."""
        self.open_anew(list(dict.fromkeys(self._oracle.promises())))


def running_on(loop: asyncio.AbstractEventLoop) -> Callable[[Awaitable[Any]], Any]:
    return loop.run_until_complete
