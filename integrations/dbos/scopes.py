"""The scope of a payload: the workflow that writes it, or else the payload itself."""

from typing import Final

from blake3 import blake3
from dbos import DBOS

from coatcheck.scope import Scope

ENGINE: Final = "dbos"
_OUTSIDE: Final = "payload:"
"""Prefix of the run of what is written outside of workflows."""


def workflow_scope(tenant: str, workflow_id: str) -> Scope:
    """Return the scope of what a workflow and its steps write."""
    return Scope(tenant, workflow_id, engine=ENGINE)


def current_scope(tenant: str, payload: bytes) -> Scope:
    """Return the scope of the workflow that the caller is part of; outside of workflows, one of the payload's own.

    Nobody is told there which workflow a payload will belong to. In a scope of its own it is deleted as soon as no row
    of the database refers to it, which it would not be in the tenant's.
    """
    workflow_id = DBOS.workflow_id
    if workflow_id is None:
        return Scope(tenant, _OUTSIDE + blake3(payload).hexdigest(), engine=ENGINE)
    return workflow_scope(tenant, workflow_id)
