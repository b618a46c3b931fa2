"""The ``coatcheck store usage`` command."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.cli.progress import with_progress

if TYPE_CHECKING:
    from coatcheck.audit.usage import Amount, Usage
    from coatcheck.runtime.progress import Progress

_SHOWN = 20


def usage(
    *,
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            help="Tenant to show by name; repeatable. Other tenants appear as their prefix in the store.",
            show_default="default",
        ),
    ] = None,
    sample: Annotated[
        int,
        typer.Option(min=0, max=100_000, help="Objects to read for the estimate of the savings by deltas."),
    ] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON records instead of tables.")] = False,
) -> None:
    """Print the usage of the store in the settings by kind, age and tenant, and the savings by deltas."""

    async def work(progress: "Progress") -> "Usage":
        # Slow to load, and other commands do not need it.
        from coatcheck.audit.usage import Census  # noqa: PLC0415
        from coatcheck.chain import Chain  # noqa: PLC0415
        from coatcheck.storage.prefixes import ScopePrefixes  # noqa: PLC0415

        async with Chain.from_settings() as chain:
            addresses = ScopePrefixes(chain.sealings)
            names = {
                prefix: name for name in tenant or ["default"] for prefix in await addresses.of_tenant(name)
            }
            census = Census(chain.store, names, sample=sample, progress=progress)
            return await census.usage(datetime.now(UTC))

    with told_in_one_line("store usage"):
        found = with_progress(work)
    if as_json:
        typer.echo(json.dumps(_records(found), indent=1))
    else:
        _print(found)


def _print(found: "Usage") -> None:
    _table("kind", {str(kind): amount for kind, amount in sorted(found.by_kind.items())})
    _table("age", found.by_age)
    largest = dict(sorted(found.by_tenant.items(), key=lambda item: -item[1].size))
    _table("tenant", dict(list(largest.items())[:_SHOWN]))
    if len(largest) > _SHOWN:
        typer.echo(f"and {len(largest) - _SHOWN:,} smaller ones; use --json to print all\n")
    read = found.sample.whole.count + found.sample.deltas.count
    if read:
        typer.echo(f"Sample: {found.sample.deltas.count:,} of {read:,} objects are deltas.")
    if found.sample.saved is not None and found.sample.deltas.count:
        typer.echo(
            f"Without deltas the store would be about {1 + found.sample.saved:.1f} times as large (estimated from the "
            "compression of the whole objects in the sample)."
        )


def _table(title: str, amounts: "Mapping[str, Amount]") -> None:
    typer.echo(f"{title:<34} {'count':>12} {'bytes':>20}")
    for name, amount in amounts.items():
        typer.echo(f"{name:<34} {amount.count:>12,} {amount.size:>20,}")
    typer.echo()


def _records(found: "Usage") -> list[dict[str, str | float]]:
    groups = {
        "kind": {str(kind): amount for kind, amount in sorted(found.by_kind.items())},
        "age": found.by_age,
        "tenant": found.by_tenant,
        "sample": {"whole": found.sample.whole, "delta": found.sample.deltas},
    }
    records: list[dict[str, str | float]] = []
    for group, amounts in groups.items():
        for name, amount in amounts.items():
            case = f"{group}:{name}"
            records.append({"case": case, "name": "objects", "value": amount.count, "unit": "count"})
            records.append({"case": case, "name": "stored_bytes", "value": amount.size, "unit": "bytes"})
    payloads = {"whole": found.sample.whole_payloads, "delta": found.sample.delta_payloads}
    for name, size in payloads.items():
        records.append({"case": f"sample:{name}", "name": "payload_bytes", "value": size, "unit": "bytes"})
    if found.sample.saved is not None:
        saved = round(found.sample.saved, 4)
        records.append(
            {"case": "sample", "name": "saved_by_deltas", "value": saved, "unit": "ratio to stored_bytes"}
        )
    return records
