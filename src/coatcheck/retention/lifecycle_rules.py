"""When objects of the tenant scope may go by themselves, by rules of the bucket.

Nobody can tell who still refers to a payload of the tenant scope, so no sweep touches it. Writers rely there on nothing
that is older than an hour (``storage/scope_state.py``), so each reference is at most so much younger than all that it needs, and
an age alone decides. For the scope of a run that does not hold: its replays find what was written when it began.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from coatcheck.contracts.sealing import TENANT_SCOPE_TAG
from coatcheck.contracts.store import ExpiryRule
from coatcheck.errors import ConfigError

MARGIN: Final = timedelta(days=2)
"""The hour, clocks that differ, and buckets that count days from midnight."""


def least_days(longest_run: timedelta, retention: timedelta) -> int:
    """Whole days after which nothing of the tenant scope is needed any more.

    Args:
        longest_run: From the first payload of a run, those of whoever starts it included, until the engine closes it. A
            schedule that holds payloads is a run that lasts as long as it does.
        retention: For which the engine keeps closed runs.
    """
    return -(-(longest_run + retention + MARGIN) // timedelta(days=1))


def expiry_rules(
    tenant_prefixes: Iterable[str], days: int, noncurrent_days: int, *, least: int
) -> list[ExpiryRule]:
    """Rules by which a bucket can delete nothing that is still needed.

    Args:
        tenant_prefixes: What the keys of each tenant begin with, under each of its keys.
        days: From the writing of an object of a tenant scope.
        noncurrent_days: From when an object was deleted or replaced, in a bucket that keeps versions.
        least: What :func:`least_days` gives.

    Raises:
        ConfigError: ``days`` are fewer than ``least``, or one of them is below 1.
    """
    if days < least:
        raise ConfigError(
            f"to expire after {days} days can delete what a run still needs", f"Use at least {least} days."
        )
    if noncurrent_days < 1:
        raise ConfigError("versions are kept for a day at least", "Use at least 1 day.")
    tenant_scopes = [f"{prefix}{TENANT_SCOPE_TAG.hex()}/" for prefix in tenant_prefixes]
    return [
        *(ExpiryRule(prefix, days) for prefix in tenant_scopes),
        ExpiryRule("", noncurrent_days, noncurrent=True),
    ]
