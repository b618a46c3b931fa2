"""What every sweep does once it knows whom to ask."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coatcheck.retention.live import LiveRuns
    from coatcheck.retention.report import Report
    from coatcheck.retention.sweep import Progress
    from coatcheck.retention.verdict import Rules


def with_progress(work: "Callable[[Progress], Coroutine[Any, Any, Report]]") -> "Report":
    """Do the work, and show on standard error how far it is."""
    with _bar() as progress:
        return asyncio.run(work(progress))


async def swept(
    live: "LiveRuns | None",
    tenants: tuple[str, ...],
    rules: "Rules",
    max_share: float,
    progress: "Progress",
    *,
    delete: bool,
) -> "Report":
    """Sweep the store of the settings, or look what a sweep would do.

    Raises:
        CoatcheckError: As :meth:`~coatcheck.retention.sweep.Sweep.run`.
    """
    # Slow to load, and other commands need none of it.
    from coatcheck.chain import Chain  # noqa: PLC0415
    from coatcheck.retention.addresses import Addresses  # noqa: PLC0415
    from coatcheck.retention.sweep import Sweep  # noqa: PLC0415

    async with Chain.from_settings() as chain:
        work = Sweep(
            chain.store,
            Addresses(chain.sealings),
            live,
            tenants=tenants,
            rules=rules,
            max_share=max_share,
            progress=progress,
        )
        return await (work.run() if delete else work.look())


@contextmanager
def _bar() -> "Iterator[Progress]":
    """What is being done and how fast, on standard error, if that is a terminal; nothing stays of it."""
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
        task = bars.add_task("beginning", total=None)
        yield lambda what, done: bars.update(task, description=what, completed=done)
