"""The command line. Nothing else of coatcheck imports it."""

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

_NEEDS = frozenset({"click", "rich", "typer"})


def main() -> NoReturn:
    """Run the ``coatcheck`` command and end the process; 1 with one line where the ``cli`` extra is not installed."""
    try:
        from coatcheck.cli.app import app  # noqa: PLC0415 - typer is optional, this is where we find out
    except ModuleNotFoundError as error:
        if error.name not in _NEEDS:
            raise
        sys.exit(f"coatcheck: the command line needs {error.name}: pip install 'coatcheck[cli]'")
    try:
        app(prog_name="coatcheck")
    except SystemExit as ending:
        if isinstance(ending.code, str):
            raise
        _end(ending.code or 0)
    _end(0)


def _end(status: int) -> NoReturn:
    """End the process as an interpreter would, but for taking itself apart.

    Threads of native code (Temporal's client) that still hold an object of Python's then crash the process, after
    its work is done: https://github.com/temporalio/sdk-python/issues/300.
    """
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no public way
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
