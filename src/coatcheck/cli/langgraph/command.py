"""The ``coatcheck langgraph`` commands."""

import typer

from coatcheck.cli.langgraph.migrate import migrate

langgraph = typer.Typer(no_args_is_help=True, help="Work on the database of a LangGraph saver.")


@langgraph.callback()
def _group() -> None:
    """Keep the name of the only command."""


langgraph.command()(migrate)
