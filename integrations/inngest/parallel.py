"""Steps in parallel. The SDK does not show middleware an answer with more than one step: this closes that gap.

Such an answer only plans its steps, which are then run one by one, but it already contains the input of ``step.invoke``.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from coatcheck.runtime.portal import run_blocking

SealStep = Callable[[Any], Coroutine[Any, Any, None]]
"""Seals the input of a planned step, in place."""


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
    """Seal the answer, which the SDK raises to leave a function."""
    for response in getattr(interrupt, "responses", ()):
        await seal(response.step)
