"""A progress bar on standard error, if that is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from coatcheck.cli.doctor.words import printable

_WIDTH = 40


class Bar:
    """A progress bar, as a context manager. It erases itself, and draws nothing if standard error is not a terminal.

    Args:
        unit: The unit of the counts.
    """

    def __init__(self, unit: str = "events") -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @contextmanager
    def task(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Show a task; yield a function to call with the number done and the number in all."""
        task = self._progress.add_task(escape(printable(name, _WIDTH)), total=None)
        try:
            yield lambda done, total: self._progress.update(task, completed=done, total=total)
        finally:
            self._progress.remove_task(task)
