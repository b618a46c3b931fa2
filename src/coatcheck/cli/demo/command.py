"""The ``coatcheck demo`` command: checks its options, runs the demo and prints the results."""

import asyncio
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from coatcheck.cli.demo.errors import DemoError
from coatcheck.errors import CoatcheckError

_ENDED_BY_SIGTERM = 128 + 15
_EXTRA = "pip install 'coatcheck[demo]'"


def demo(
    turns: Annotated[int, typer.Option(min=2, help="Turns of each of the first three runs.")] = 60,
    json: Annotated[Path | None, typer.Option(help="Write every figure to this file, as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the chart to this file, as PNG.")] = None,
    seed: Annotated[int, typer.Option(help="Number of the conversation.")] = 0,
) -> None:
    """Run an agent on a real Temporal server: plain, with the chain, killed and recovered, and past 50 MB.

    Exits 1 unless the runs with the chain complete, recover and return every byte.
    """
    try:
        _check_file("--json", json)
        _check_file("--plot", plot)
        _check_installed("temporalio", *(["matplotlib"] if plot else []))
        from coatcheck.cli.demo.session import measure, show  # noqa: PLC0415 - temporalio is optional

        failed = show(asyncio.run(measure(turns, seed)), json_path=json, plot_path=plot)
    except (CoatcheckError, DemoError) as error:
        failed = [str(error)]
    except asyncio.CancelledError:
        raise typer.Exit(_ENDED_BY_SIGTERM) from None
    for line in failed:
        Console(stderr=True, soft_wrap=True).print(f"coatcheck demo: {line}", style="red", markup=False)
    if failed:
        raise typer.Exit(1)


def _check_file(option: str, path: Path | None) -> None:
    if path is None:
        return
    if not path.parent.is_dir():
        raise DemoError(f"the folder of {option} {path} does not exist")
    if path.is_dir():
        raise DemoError(f"{option} {path} is a folder, not a file")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise DemoError(f"{option} {path} cannot be written")


def _check_installed(*modules: str) -> None:
    for module in modules:
        if find_spec(module) is None:
            raise DemoError(f"{module} is not installed: {_EXTRA}")
