"""Progress of long work."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from coatcheck.runtime.progress import Progress

_T = TypeVar("_T")


def with_progress(work: "Callable[[Progress], Coroutine[Any, Any, _T]]") -> _T:
    """Do the work, and show its progress on standard error."""
    with _bar() as progress:
        return asyncio.run(work(progress))


@contextmanager
def _bar() -> "Iterator[Progress]":
    """Show the current step and its count on standard error if that is a terminal, and erase them at the end."""
    from rich.console import Console  # noqa: PLC0415 - slow to load
    from rich.progress import Progress as Bars  # noqa: PLC0415
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    console = Console(stderr=True)
    text = TextColumn("{task.description}: {task.completed:,.0f}")
    with Bars(
        SpinnerColumn(),
        text,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:
        task = bars.add_task("starting", total=None)
        yield lambda what, done: bars.update(task, description=what, completed=done)
