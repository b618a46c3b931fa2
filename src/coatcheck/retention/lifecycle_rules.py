"""Rules by which a bucket deletes objects of the tenant scope.

It is unknown who still refers to a payload of the tenant scope, so no sweep touches it. Writers there rely on nothing
older than an hour (``storage/scoped_store.py``), so a reference is at most an hour younger than the objects that it needs,
and age alone decides. This does not apply to the scope of a run: its replays find objects from when the run began.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from coatcheck.contracts.sealing import TENANT_SCOPE_TAG
from coatcheck.contracts.store import ExpiryRule
from coatcheck.errors import ConfigError

MARGIN: Final = timedelta(days=2)
"""The hour, differences between clocks, and buckets that count days from midnight."""


def least_days(longest_run: timedelta, retention: timedelta) -> int:
    """Return the whole days after which an object of the tenant scope is not needed any more.

    Args:
        longest_run: Time from the first payload of a run, including those of its starter, until the engine closes it. A
            schedule with payloads counts as one run.
        retention: Time for which the engine keeps closed runs.
    """
    return -(-(longest_run + retention + MARGIN) // timedelta(days=1))


def expiry_rules(
    tenant_prefixes: Iterable[str], days: int, noncurrent_days: int, *, least: int
) -> list[ExpiryRule]:
    """Return rules by which a bucket deletes nothing that is still needed.

    Args:
        tenant_prefixes: The prefixes of the tenants, one for each of their keys.
        days: Days after an object of a tenant scope was written.
        noncurrent_days: Days after an object was deleted or replaced, in a bucket that keeps versions.
        least: The result of :func:`least_days`.

    Raises:
        ConfigError: ``days`` is less than ``least``, or ``noncurrent_days`` is below 1.
    """
    if days < least:
        raise ConfigError(
            f"an expiry after {days} days can delete objects that a run still needs",
            f"Use at least {least} days.",
        )
    if noncurrent_days < 1:
        raise ConfigError("an expiry of versions needs at least a day", "Use at least 1 day.")
    tenant_scopes = [f"{prefix}{TENANT_SCOPE_TAG.hex()}/" for prefix in tenant_prefixes]
    return [
        *(ExpiryRule(prefix, days) for prefix in tenant_scopes),
        ExpiryRule("", noncurrent_days, noncurrent=True),
    ]
