"""The scopes that a run's payloads belong to."""

from typing import Final

from coatcheck.scope import Scope

ENGINE: Final = "inngest"


def run_scope(tenant: str, run: str) -> Scope:
    """Return the scope of values that stay in the run with this ID."""
    return Scope(tenant, run, engine=ENGINE)
