"""The ``coatcheck doctor`` commands, of which the one for Temporal need not be named."""

from typing import Any

import typer
from typer.core import TyperGroup

from coatcheck.cli.doctor.command import doctor as temporal
from coatcheck.cli.doctor.langgraph.command import langgraph

_DEFAULT = "temporal"


class _DefaultGroup(TyperGroup):
    """Takes arguments that do not begin with the name of a command as those of :data:`_DEFAULT`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = args[:1] and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named else [_DEFAULT, *args])


doctor = typer.Typer(
    cls=_DefaultGroup,
    help="Show where the bytes are, how they grow, and what a chain would save: of a history of Temporal "
    "(coatcheck doctor WORKFLOW_ID, or doctor temporal WORKFLOW_ID), or of LangGraph's checkpoints.",
)
doctor.command(_DEFAULT)(temporal)
doctor.command()(langgraph)
