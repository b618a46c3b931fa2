"""The ``coatcheck store lifecycle`` command."""

import asyncio
import json
from datetime import timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.cli.sweep.options import span
from coatcheck.errors import ConfigError
from coatcheck.settings.registry import scheme_of
from coatcheck.stores.admin import gcs_lifecycle, s3_lifecycle

if TYPE_CHECKING:
    from coatcheck.contracts.store import ExpiryRule
    from coatcheck.settings.model import Settings

_BUCKETS: dict[str, ModuleType] = {"gs": gcs_lifecycle, "s3": s3_lifecycle}


def lifecycle(
    *,
    longest_run: Annotated[
        timedelta,
        typer.Option(
            parser=span,
            metavar="TIME",
            help="Longest time from a run's first payload until the engine closes the run, such as 90d. A schedule with payloads "
            "counts as a run that lasts as long as the schedule.",
        ),
    ],
    retention: Annotated[
        timedelta,
        typer.Option(
            parser=span, metavar="TIME", help="Time for which the engine keeps closed runs, such as 30d."
        ),
    ],
    tenant: Annotated[
        list[str] | None,
        typer.Option(help="Tenant whose payloads the rules cover; repeatable.", show_default="default"),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(help="Age at which payloads outside any run expire.", show_default="earliest safe age"),
    ] = None,
    noncurrent_days: Annotated[
        int,
        typer.Option(
            help="Age at which deleted and replaced versions are removed, in a bucket that keeps versions."
        ),
    ] = 7,
    apply: Annotated[bool, typer.Option("--apply", help="Set the rules; other rules stay.")] = False,
) -> None:
    """Print safe lifecycle rules for the bucket in the settings, in the format of its service.

    They cover only payloads of a tenant outside any run, and versions that are not current. Payloads of a run
    are deleted by `coatcheck sweep`: their age does not tell whether a replay still needs them. The command refuses
    rules that could delete needed payloads: requested ones, and ones that the bucket already has.
    """
    with told_in_one_line("store lifecycle"):
        typer.echo(
            asyncio.run(
                _lifecycle(longest_run, retention, tenant or ["default"], days, noncurrent_days, apply=apply)
            )
        )


async def _lifecycle(
    longest_run: timedelta,
    retention: timedelta,
    tenants: list[str],
    days: int | None,
    noncurrent_days: int,
    *,
    apply: bool,
) -> str:
    from coatcheck.retention.lifecycle_rules import expiry_rules, least_days  # noqa: PLC0415 - slow to load
    from coatcheck.settings.model import Settings  # noqa: PLC0415

    settings = Settings.load()
    url = settings.store_url()
    bucket = _BUCKETS.get(scheme_of(url))
    if bucket is None:
        raise ConfigError(
            f"a store with a {scheme_of(url)} URL has no lifecycle rules",
            "Use this command for s3:// and gs:// buckets.",
        )
    least = least_days(longest_run, retention)
    rules: list[ExpiryRule] = expiry_rules(
        await _prefixes(settings, tenants), least if days is None else days, noncurrent_days, least=least
    )
    harmful = await bucket.harmful(url)
    if harmful:
        raise ConfigError(
            f"the bucket has lifecycle rules that can delete or move needed payloads: {'; '.join(harmful)}",
            "Remove these rules first.",
        )
    if apply:
        await bucket.apply(url, rules)
    return json.dumps(bucket.rules_of(url, rules), indent=1)


async def _prefixes(settings: "Settings", tenants: list[str]) -> list[str]:
    from coatcheck.storage.prefixes import ScopePrefixes  # noqa: PLC0415 - slow to load

    async with settings.chain() as chain:
        addresses = ScopePrefixes(chain.sealings)
        return [prefix for tenant in tenants for prefix in await addresses.of_tenant(tenant)]
