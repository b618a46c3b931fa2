"""The demo from end to end: a server, a temporary folder, the runs, and what is shown of them."""

import asyncio
import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from coatcheck.cli.demo.report import failures, records, summary, table
from coatcheck.cli.demo.runs import Case, Outcome, Runner, plan
from coatcheck.cli.demo.server import dev_server


async def measure(turns: int, seed: int) -> list[Outcome]:
    """Make every run.

    Args:
        turns: Of the first runs.
        seed: Which conversation.

    Raises:
        DemoError: The server or a worker process does not run.
    """
    with _ended_by_sigterm(), TemporaryDirectory(prefix="coatcheck-demo-") as folder:
        async with dev_server() as server:
            return await _run_all(plan(turns), Runner(server, Path(folder), seed))


def show(outcomes: Sequence[Outcome], *, json_path: Path | None, plot_path: Path | None) -> list[str]:
    """Print the table, write the files.

    Args:
        outcomes: Every run.
        json_path: Where the figures go; None for nowhere.
        plot_path: Where the chart goes; None for nowhere.

    Returns:
        What does not hold of the runs with the chain, a line each; empty if all is well.
    """
    console = Console()
    console.print(table(outcomes))
    for sentence in summary(outcomes):
        console.print(sentence, highlight=False, soft_wrap=True)
    if json_path is not None:
        json_path.write_text(json.dumps(records(outcomes), indent=1) + "\n")
    if plot_path is not None:
        from coatcheck.cli.demo.chart import draw  # noqa: PLC0415 - matplotlib is slow to load

        draw(outcomes, plot_path)
    return failures(outcomes)


async def _run_all(cases: Sequence[Case], runner: Runner) -> list[Outcome]:
    outcomes: list[Outcome] = []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("turns"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as progress:
        for case in cases:
            bar = progress.add_task(case.name, total=case.turns)
            outcome = await runner.run(case, partial(_advance, progress, bar))
            progress.stop_task(bar)
            outcomes.append(outcome)
    return outcomes


def _advance(progress: Progress, bar: TaskID, turn: int) -> None:
    progress.update(bar, completed=turn)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM clean up as Ctrl-C does."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
