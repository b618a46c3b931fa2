"""Whose payloads a workflow's are."""

import re
from typing import Final

from coatcheck.scope import Scope

ENGINE: Final = "temporal"

_SCHEDULED: Final = re.compile(r"(.+)-\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.DOTALL)
"""The server puts the time behind the ID that a schedule's action has."""


def workflow_scope(namespace: str, workflow_id: str) -> Scope:
    """The scope of a workflow: its ID, since a reset or continue-as-new changes the run ID.

    A schedule hands each of its workflows the result of the last one, as it was sealed, and each has an ID of its own. So
    they are a series. An ID that only looks like one of theirs is in a series, too.
    """
    scheduled = _SCHEDULED.fullmatch(workflow_id)
    return Scope(namespace, workflow_id, scheduled[1] if scheduled else None, ENGINE)
