"""The ``coatcheck verify`` command."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.cli.progress import with_progress
from coatcheck.errors import CoatcheckError, ConfigError

if TYPE_CHECKING:
    from coatcheck.audit.verification import Findings
    from coatcheck.runtime.progress import Progress
    from coatcheck.scope import Scope

_SHOWN = 100


def verify(
    *,
    tenant: Annotated[
        list[str] | None,
        typer.Option(help="Tenant whose payloads to verify; repeatable.", show_default="default"),
    ] = None,
    run: Annotated[str | None, typer.Option(help="Verify this run only.", show_default="all")] = None,
    sample: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the objects to verify, chosen at random.")
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON records instead of text.")] = False,
) -> None:
    """Decode every object in the stores of the settings: check that it is authentic, has all its bases and matches its id.

    Exits 1 if an object fails, or if there was nothing to verify. Changes nothing. Fetches every object that it verifies.
    """

    async def work(progress: "Progress") -> "Findings":
        # Slow to load, and other commands do not need it.
        from coatcheck.audit.verification import Verification  # noqa: PLC0415
        from coatcheck.chain import Chain  # noqa: PLC0415

        async with Chain.from_settings() as chain:
            scopes = _scopes(tenants, run) if run else []
            return await Verification(
                chain, tenants, scopes=scopes, sample=sample, progress=progress
            ).findings()

    tenants = tuple(tenant or ["default"])

    with told_in_one_line("verify"):
        found = with_progress(work)
        if found.is_empty:
            raise _nothing_found(found, tenants, run)
    if as_json:
        typer.echo(json.dumps(_records(found), indent=1))
    else:
        _print(found)
    if found.problems:
        raise typer.Exit(1)


def _scopes(tenants: Sequence[str], run: str) -> "list[Scope]":
    """Return every scope that a run of this name can have, in any engine."""
    from coatcheck.scope import ENGINES, Scope  # noqa: PLC0415 - slow to load, and other commands do not need it

    scopes = [Scope(tenant, run, engine=engine) for tenant in tenants for engine in ENGINES]
    with suppress(ImportError, CoatcheckError):
        from coatcheck.integrations.temporal.scopes import workflow_scope  # noqa: PLC0415 - temporalio is optional

        scopes += [workflow_scope(tenant, run) for tenant in tenants]
    return list(dict.fromkeys(scopes))


def _nothing_found(found: "Findings", tenants: Sequence[str], run: str | None) -> ConfigError:
    whose = f"the run {run!r} of " if run else ""
    named = ", ".join(map(repr, tenants))
    others = f"; {found.unnamed:,} objects belong to other tenants or keys" if found.unnamed else ""
    return ConfigError(
        f"nothing was verified: the store has no object of {whose}{'the tenant' if len(tenants) == 1 else 'the tenants'} "
        f"{named} under the keys of the settings{others}",
        "Check the store, --tenant, --run and the keys, including decrypt-only ones.",
    )


def _print(found: "Findings") -> None:
    typer.echo(
        f"Verified: {found.objects:,} objects and {found.records:,} records, {found.stored_bytes:,} bytes in the store, "
        f"{found.payload_bytes:,} bytes of payloads."
    )
    if found.unnamed:
        typer.echo(f"{found.unnamed:,} more belong to other tenants, or to a key that is missing here.")
    if found.left_out:
        typer.echo(f"{found.left_out:,} were not in the sample.")
    if found.gone:
        typer.echo(f"{found.gone:,} were deleted meanwhile, for example by a sweep.")
    for problem in found.problems[:_SHOWN]:
        typer.echo(f"problem  {problem.key}  {problem.error}")
    if len(found.problems) > _SHOWN:
        typer.echo(f"and {len(found.problems) - _SHOWN:,} more; use --json to print all")


def _records(found: "Findings") -> list[dict[str, str | int]]:
    figures: list[tuple[str, str, str | int, str]] = [
        ("verify", "objects", found.objects, "count"),
        ("verify", "records", found.records, "count"),
        ("verify", "stored_bytes", found.stored_bytes, "bytes"),
        ("verify", "payload_bytes", found.payload_bytes, "bytes"),
        ("verify", "left_out", found.left_out, "count"),
        ("verify", "gone", found.gone, "count"),
        ("verify", "unnamed", found.unnamed, "count"),
        ("verify", "problems", len(found.problems), "count"),
        *((problem.key, "problem", str(problem.error), "text") for problem in found.problems),
    ]
    return [{"case": case, "name": name, "value": value, "unit": unit} for case, name, value, unit in figures]
