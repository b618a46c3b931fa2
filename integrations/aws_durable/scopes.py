"""The scope of a payload: that of the durable execution which writes it."""

from typing import Final

from coatcheck.scope import Scope

ENGINE: Final = "aws-durable"


def execution_scope(tenant: str, arn: str) -> Scope:
    """Return the scope of a durable execution: its ARN lasts as long as it does, whatever invocations it takes."""
    return Scope(tenant, arn or None, engine=ENGINE)
