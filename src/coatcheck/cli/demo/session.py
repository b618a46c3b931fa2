"""The demo from end to end: a server, a temporary folder, the runs, and their results."""

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

from coatcheck.cli.demo.results import failures, records, summary, table
from coatcheck.cli.demo.runs import Case, Runner, RunResult, plan
from coatcheck.cli.demo.server import dev_server


async def measure(turns: int, seed: int) -> list[RunResult]:
    """Make all runs.

    Args:
        turns: Turns of each of the first runs.
        seed: The conversation.

    Raises:
        DemoError: The server or a worker process does not run.
    """
    with _ended_by_sigterm(), TemporaryDirectory(prefix="coatcheck-demo-") as folder:
        async with dev_server() as server:
            return await _run_all(plan(turns), Runner(server, Path(folder), seed))


def show(results: Sequence[RunResult], *, json_path: Path | None, plot_path: Path | None) -> list[str]:
    """Print the table and write the files.

    Args:
        results: Every run.
        json_path: The file for the figures; None for none.
        plot_path: The file for the chart; None for none.

    Returns:
        The failures of the runs with the chain, one line each; empty if there are none.
    """
    console = Console()
    console.print(table(results))
    for sentence in summary(results):
        console.print(sentence, highlight=False, soft_wrap=True)
    if json_path is not None:
        json_path.write_text(json.dumps(records(results), indent=1) + "\n")
    if plot_path is not None:
        from coatcheck.cli.demo.chart import draw  # noqa: PLC0415 - matplotlib is slow to load

        draw(results, plot_path)
    return failures(results)


async def _run_all(cases: Sequence[Case], runner: Runner) -> list[RunResult]:
    results: list[RunResult] = []
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
            result = await runner.run(case, partial(_advance, progress, bar))
            progress.stop_task(bar)
            results.append(result)
    return results


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
