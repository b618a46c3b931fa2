"""The ``coatcheck sweep`` commands."""

import typer

from coatcheck.cli.sweep.checkpoints import checkpoints
from coatcheck.cli.sweep.dbos import dbos
from coatcheck.cli.sweep.durabletask import durabletask
from coatcheck.cli.sweep.inngest import inngest
from coatcheck.cli.sweep.langgraph import langgraph
from coatcheck.cli.sweep.restate import restate
from coatcheck.cli.sweep.temporal import temporal

sweep = typer.Typer(
    no_args_is_help=True,
    help="Delete what no run can reach any more: mark it first; delete it after a grace if still no run needs it.",
)
sweep.command()(checkpoints)
sweep.command()(durabletask)
sweep.command()(dbos)
sweep.command()(inngest)
sweep.command()(langgraph)
sweep.command()(restate)
sweep.command()(temporal)
