"""One process's way to a store that others share: it can be shut, slow, or lose what was said."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, get_args

from coatcheck import Store, StoreUnavailable
from coatcheck.errors import CoatcheckError
from tests.machine.adapter import Passing

_T = TypeVar("_T")

Mishap = Literal["before", "after", "silent", "late"]
"""Refused without an effect, with one; never answered; not answered, and carried out much later."""
MISHAPS: Final = get_args(Mishap)
OPERATIONS: Final = ("create", "replace", "get", "delete", "list", "all")
FOR_GOOD: Final = 10**9


@dataclass(slots=True)
class Fault:
    operation: str
    mishap: Mishap
    times: int
    skip: int
    """Calls that go well before."""


class Door(Passing):
    """Everything goes well until something was planned.

    Args:
        inner: The store.
        patience: Seconds of silence after which a store's own client gives up.
    """

    def __init__(self, inner: Store, patience: float) -> None:
        super().__init__(inner)
        self._patience = patience
        self.faults: list[Fault] = []
        self.late: list[Callable[[], Awaitable[Any]]] = []
        self.unsteady: random.Random | None = None
        """Decides how long others may go first, before and after each call."""

    async def on_the_way(self, operation: str, key: str, call: Callable[[], Awaitable[_T]]) -> _T:
        await self._dawdle()
        mishap = self._mishap(operation)
        if mishap == "late":
            self.late.append(call)
        if mishap in ("late", "silent"):
            await asyncio.sleep(self._patience)
        if mishap in ("late", "silent", "before"):
            raise StoreUnavailable("planned: refused", "Retry.", key)
        result = await call()
        await self._dawdle()
        if mishap == "after":
            raise StoreUnavailable("planned: the answer was lost", "Retry.", key)
        return result

    async def arrive(self) -> None:
        """Let what was under way take effect."""
        late, self.late = self.late, []
        for call in late:
            try:
                await call()
            except CoatcheckError:
                continue  # nobody waits for it any more

    def _mishap(self, operation: str) -> Mishap | None:
        for fault in self.faults:
            if fault.operation in (operation, "all") and fault.times > 0:
                if fault.skip > 0:
                    fault.skip -= 1
                    return None
                fault.times -= 1
                return fault.mishap
        return None

    async def _dawdle(self) -> None:
        if self.unsteady is not None:
            for _ in range(self.unsteady.randrange(4)):
                await asyncio.sleep(0)
