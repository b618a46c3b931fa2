"""The end of a command that fails."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from coatcheck.errors import CoatcheckError

_INTERRUPTED = 128 + 2


@contextmanager
def told_in_one_line(command: str) -> Iterator[None]:
    """Exit with status 1 and one line on standard error for our errors and those of the operating system; 130 for Ctrl-C."""
    try:
        yield
    except (CoatcheckError, OSError) as error:
        said = " ".join(str(error).split())
        typer.echo(f"coatcheck {command}: {said}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        _end_now(_INTERRUPTED)


def _end_now(status: int) -> NoReturn:
    """End the process without shutting the interpreter down.

    The runtime of Temporal's SDK has threads of its own. If one of them is connecting, it and the interpreter wait for
    each other: the process would hang, or end in a panic.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
