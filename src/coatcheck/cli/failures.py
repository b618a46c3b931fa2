"""The end of a command that fails."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from coatcheck.errors import CoatcheckError, is_outage

_INTERRUPTED = 128 + 2
_TRY_AGAIN = 75
"""``EX_TEMPFAIL`` of sysexits.h."""


@contextmanager
def told_in_one_line(command: str) -> Iterator[None]:
    """Exit with one line on standard error for our errors and those of the operating system.

    The status is 1; or 75 (``EX_TEMPFAIL``) if a store, a key service or an engine is away, and the same command can succeed
    later as it is. For Ctrl-C it is 130.
    """
    try:
        yield
    except (CoatcheckError, OSError) as error:
        said = " ".join(str(error).split())
        typer.echo(f"coatcheck {command}: {said}", err=True)
        raise typer.Exit(_TRY_AGAIN if is_outage(error) else 1) from None
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
