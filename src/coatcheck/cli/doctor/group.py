"""The ``coatcheck doctor`` commands, of which the one for Temporal need not be named."""

from typing import Any

import typer
from typer.core import TyperGroup

from coatcheck.cli.doctor.command import doctor as temporal
from coatcheck.cli.doctor.langgraph.command import langgraph

_DEFAULT = "temporal"


class DefaultGroup(TyperGroup):
    """Takes arguments that do not begin with the name of a command as those of the command for Temporal."""

    def named(self, args: list[str]) -> list[str]:
        """Return the arguments with the name of their command in front."""
        is_named = args[:1] and (args[0] in self.commands or args[0] == "--help")
        return args if is_named else [_DEFAULT, *args]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as any group does."""
        return super().parse_args(ctx, self.named(args))


doctor = typer.Typer(
    cls=DefaultGroup,
    help="Show where the bytes are, how they grow, and what a chain would save: of a history of Temporal "
    "(coatcheck doctor WORKFLOW_ID, or doctor temporal WORKFLOW_ID), or of LangGraph's checkpoints.",
)
doctor.command(_DEFAULT)(temporal)
doctor.command()(langgraph)
