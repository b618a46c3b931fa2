"""The ``coatcheck keys`` commands."""

import typer

from coatcheck.codecs.keyring import Key

keys = typer.Typer(no_args_is_help=True, help="Make keys.")


@keys.command()
def new() -> None:
    """Print a new random key. Put it first in COATCHECK_KEYS; keep older keys behind it, separated by commas."""
    typer.echo(Key.generate().to_text())


@keys.callback()
def _group() -> None:
    """Keep ``new`` a command of a group, however few there are."""
