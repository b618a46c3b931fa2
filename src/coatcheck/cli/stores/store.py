"""The ``coatcheck store`` commands."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.cli.stores.lifecycle import lifecycle
from coatcheck.cli.stores.probe import Finding, Probe
from coatcheck.cli.stores.usage import usage
from coatcheck.contracts.store import Store
from coatcheck.errors import CoatcheckError
from coatcheck.settings.registry import open_store, scheme_of
from coatcheck.stores.admin import gcs as gcs_admin
from coatcheck.stores.admin import s3 as s3_admin
from coatcheck.stores.admin.facts import BucketFact
from coatcheck.stores.postgres import PostgresStore

_INTERRUPTED = 128 + 2
_LOOK: dict[str, Callable[[str], Awaitable[list[BucketFact]]]] = {"gs": gcs_admin.look, "s3": s3_admin.look}

Url = Annotated[
    str,
    typer.Argument(
        help="Store URL, such as s3://bucket/prefix or file:///folder.",
        show_default="the store in the settings",
    ),
]

store = typer.Typer(no_args_is_help=True, help="Check and prepare stores.")


@store.command()
def check(
    url: Url = "",
    *,
    read_only: Annotated[
        bool,
        typer.Option(
            "--read-only",
            help="Neither write nor delete, for credentials without these rights, such as a codec server's.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON records instead of text.")] = False,
) -> None:
    """Try a store with temporary objects, and check the configuration of its bucket.

    Times are the median of several calls; the time of `missing` is that of the very first call. Exits 1 if the store would
    lose or refuse payloads.
    """
    probe: list[Probe] = []
    try:
        findings = asyncio.run(_check(_whole(url), probe, read_only=read_only))
    except CoatcheckError as error:
        findings = [Finding("open", str(error), fine=False)]
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    finally:
        for one in probe:
            for key in one.left_behind:
                typer.echo(f"the temporary object {key} could not be removed: delete it by hand", err=True)
    typer.echo(json.dumps(_records(findings), indent=1) if as_json else "\n".join(map(_line, findings)))
    if any(finding.fine is False for finding in findings):
        raise typer.Exit(1)


store.command()(usage)
store.command()(lifecycle)


@store.command()
def init(url: Url = "") -> None:
    """Prepare a store for its first use: create the table of PostgreSQL."""
    with told_in_one_line("store init"):
        typer.echo(asyncio.run(_init(_whole(url))))


def _whole(url: str) -> str:
    """Return ``url``, or the one in the settings, which keeps a password off the command line, with their certificates."""
    from coatcheck.settings.model import Settings  # noqa: PLC0415 - slow to load, and other commands need none of it

    return Settings.load().store_url(url)


async def _check(url: str, probes: list[Probe], *, read_only: bool) -> list[Finding]:
    opened = open_store(url)
    try:
        probe = Probe(opened, read_only=read_only)
        probes.append(probe)
        findings = [Finding("store", repr(opened), fine=True), *await probe.run()]
        if scheme_of(url) in _LOOK:
            facts = await _LOOK[scheme_of(url)](url)
            findings += [Finding(fact.topic, fact.said, fact.fine) for fact in facts]
    finally:
        await opened.close()
    return findings


async def _init(url: str) -> str:
    opened: Store = open_store(url)
    try:
        if isinstance(opened, PostgresStore):
            await opened.init()
            return f"table {opened.table} is ready"
    finally:
        await opened.close()
    return "nothing to do: this store needs no preparation"


def _line(finding: Finding) -> str:
    verdict = {True: "fine", False: "problem", None: "unknown"}[finding.fine]
    took = "" if finding.milliseconds is None else f"{finding.milliseconds:.1f} ms"
    return f"{verdict:<8} {finding.case:<17} {took:>10}  {finding.said}"


def _records(findings: list[Finding]) -> list[dict[str, str | float]]:
    """Return records; ``ok`` is 1 or 0, and left out if it is unknown."""
    records: list[dict[str, str | float]] = []
    for finding in findings:
        figures: list[tuple[str, str | float | None, str]] = [
            ("ok", None if finding.fine is None else int(finding.fine), "bool"),
            ("latency", finding.milliseconds and round(finding.milliseconds, 3), "ms"),
            ("said", finding.said, "text"),
        ]
        records += [
            {"case": finding.case, "name": name, "value": value, "unit": unit}
            for name, value, unit in figures
            if value is not None
        ]
    return records
