"""Steps in parallel. The SDK shows middleware no answer that has more than one step in it: this closes that gap.

Such an answer only plans its steps, which are then run one by one, but what ``step.invoke`` hands over is already in it.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from coatcheck.runtime.portal import run_blocking

SealStep = Callable[[Any], Coroutine[Any, Any, None]]
"""Seals what a planned step hands over, in place."""


class SealingGroup:
    """Stands in for ``ctx.group`` of an async function."""

    def __init__(self, group: Any, seal: SealStep) -> None:
        self._group = group
        self._seal = seal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._group, name)

    async def parallel(self, *args: Any, **options: Any) -> Any:
        """As ``ctx.group.parallel``."""
        try:
            return await self._group.parallel(*args, **options)
        except BaseException as interrupt:
            await _seal_all(interrupt, self._seal)
            raise


class SealingGroupSync:
    """Stands in for ``ctx.group`` of a sync function."""

    def __init__(self, group: Any, seal: SealStep) -> None:
        self._group = group
        self._seal = seal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._group, name)

    def parallel(self, *args: Any, **options: Any) -> Any:
        """As ``ctx.group.parallel``."""
        try:
            return self._group.parallel(*args, **options)
        except BaseException as interrupt:
            run_blocking(_seal_all(interrupt, self._seal))
            raise


async def _seal_all(interrupt: BaseException, seal: SealStep) -> None:
    """The SDK leaves a function by raising the answer."""
    for response in getattr(interrupt, "responses", ()):
        await seal(response.step)
