"""The scope of a workflow's payloads."""

import re
from typing import Final

from coatcheck.scope import Scope

ENGINE: Final = "temporal"

_SCHEDULED: Final = re.compile(r"(.+)-\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.DOTALL)
"""Suffix that the server appends to the ID of a schedule's action: the time."""


def workflow_scope(namespace: str, workflow_id: str) -> Scope:
    """Return the scope of a workflow: its ID, since a reset or continue-as-new changes the run ID.

    A schedule hands each of its workflows the sealed result of the last one, and each has an ID of its own. So they are a
    series. An ID that only looks like one of theirs is in a series, too.
    """
    scheduled = _SCHEDULED.fullmatch(workflow_id)
    return Scope(namespace, workflow_id, scheduled[1] if scheduled else None, ENGINE)
