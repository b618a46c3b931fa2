"""The ``coatcheck`` command and its subcommands."""

from typing import Annotated

import typer

from coatcheck._version import __version__
from coatcheck.cli.checkpoints import checkpoints
from coatcheck.cli.config import config
from coatcheck.cli.demo.command import demo
from coatcheck.cli.doctor.group import doctor
from coatcheck.cli.get import get
from coatcheck.cli.init import init
from coatcheck.cli.inspect import inspect
from coatcheck.cli.keys.command import keys, rekey
from coatcheck.cli.langgraph.command import langgraph
from coatcheck.cli.serve import serve
from coatcheck.cli.stores.store import store
from coatcheck.cli.stores.verify import verify
from coatcheck.cli.sweep.command import sweep

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        typer.echo(f"coatcheck {__version__}")
        raise typer.Exit


@app.callback()
def coatcheck(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep large payloads out of the journal of a durable execution engine."""


app.command()(demo)
app.command()(get)
app.command()(init)
app.command()(inspect)
app.command()(rekey)
app.command()(serve)
app.command()(verify)
app.add_typer(checkpoints, name="checkpoints")
app.add_typer(config, name="config")
app.add_typer(doctor, name="doctor")
app.add_typer(keys, name="keys")
app.add_typer(langgraph, name="langgraph")
app.add_typer(store, name="store")
app.add_typer(sweep, name="sweep")
