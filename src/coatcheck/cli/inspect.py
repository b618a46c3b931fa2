"""The ``coatcheck inspect`` command."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.errors import LimitExceeded

_MAX_SIZE = 64 * 2**20
"""Bytes. Envelopes in a journal are far smaller; objects in a store are seldom larger."""


def inspect(
    what: Annotated[
        str,
        typer.Argument(
            help="A file, - for standard input, an envelope or a reference as text (base64, hexadecimal, "
            '`coatcheck:...`, `{"__coatcheck__": "..."}`), or a Temporal payload in JSON.',
            show_default=False,
        ),
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Explain an envelope or a reference without decoding it; needs no key, store or server.

    The output is not verified: that needs the key.
    """
    with told_in_one_line("inspect"):
        from coatcheck.cli.doctor.words import printable  # noqa: PLC0415 - slow to load
        from coatcheck.doctor.explain import explain  # noqa: PLC0415 - slow to load

        facts = explain(_read(what))
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    for name, value in facts.items():
        lines = (
            (value or ["none"])
            if isinstance(value, list)
            else [f"{value:,}" if isinstance(value, int) else value]
        )
        for number, line in enumerate(lines):
            typer.echo(f"{'' if number else printable(name):<15} {printable(line)}")


def _read(what: str) -> bytes:
    if what == "-":
        return _within_limit(sys.stdin.buffer.read(_MAX_SIZE + 1))
    try:
        is_file = Path(what).is_file()
    except (OSError, ValueError):
        # The text may be too long for a file name.
        is_file = False
    if not is_file:
        return what.encode("utf-8", "surrogateescape")
    with Path(what).open("rb") as file:
        return _within_limit(file.read(_MAX_SIZE + 1))


def _within_limit(data: bytes) -> bytes:
    if len(data) > _MAX_SIZE:
        raise LimitExceeded(
            f"the input is larger than {_MAX_SIZE:,} bytes", "Pass one envelope or reference."
        )
    return data
