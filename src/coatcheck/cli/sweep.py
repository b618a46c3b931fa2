"""The ``coatcheck sweep`` commands."""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.cli.temporal_options import Address, Server, check_installed

if TYPE_CHECKING:
    from coatcheck.retention.live import LiveRuns
    from coatcheck.retention.report import Report, Tally
    from coatcheck.retention.sweep import Progress
    from coatcheck.retention.verdict import Rules

_SPAN = re.compile(r"([1-9][0-9]{0,4})([dh])")


def _span(text: str) -> timedelta:
    found = _SPAN.fullmatch(text)
    if not found:
        raise typer.BadParameter(f"{text!r} is not a time such as 7d or 36h")
    return timedelta(**{{"d": "days", "h": "hours"}[found[2]]: int(found[1])})


Grace = Annotated[
    timedelta,
    typer.Option(
        parser=_span,
        metavar="TIME",
        show_default="7d",
        help="How long to wait between the two looks, such as 7d; at least 1d, and longer than a workflow can take from "
        "the writing of its input until the server shows it.",
    ),
]
MaxShare = Annotated[
    float, typer.Option(min=0, max=1, help="Do nothing if more than this share of all objects would go.")
]
Delete = Annotated[
    bool, typer.Option("--delete", help="Mark and delete. Without it, only say what would be done.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print records instead of a table.")]

_WEEK = timedelta(days=7)
_SHARE = 0.2

sweep = typer.Typer(
    no_args_is_help=True,
    help="Free what no run can reach any more: mark it, and after a grace, if still no run knows it, delete it.",
)


@sweep.command()
def temporal(
    *,
    namespace: Annotated[
        list[str] | None,
        typer.Option(
            help="Whose payloads to sweep; can be given several times.",
            show_default="TEMPORAL_NAMESPACE, or default",
        ),
    ] = None,
    address: Address = None,
    grace: Grace = _WEEK,
    max_share: MaxShare = _SHARE,
    archived: Annotated[
        bool, typer.Option("--archived", help="Keep what runs in visibility's archive refer to, too.")
    ] = False,
    nexus_callers_listed: Annotated[
        bool,
        typer.Option(
            "--nexus-callers-listed",
            help="All namespaces that call these by Nexus are given: the server need not be asked.",
        ),
    ] = False,
    delete: Delete = False,
    as_json: AsJson = False,
) -> None:
    """Sweep payloads of workflows that the server no longer has, neither running nor retained.

    The store and the keys are those of the settings.
    Run it once a day: the first run marks, the first one after the grace deletes.
    """

    async def swept(progress: "Progress") -> "Report":
        # temporalio is optional, and slow to load.
        from coatcheck.cli.temporal_server import connect  # noqa: PLC0415
        from coatcheck.integrations.temporal.live_runs import TemporalRuns  # noqa: PLC0415
        from coatcheck.retention.verdict import Rules  # noqa: PLC0415

        rules = Rules(grace=grace, idle=grace)
        client = await connect(Server(address, namespace[0] if namespace else None))
        live = TemporalRuns(
            client,
            namespace or [client.namespace],
            archived=archived,
            callers_listed=nexus_callers_listed,
        )
        return await _sweep(live, live.tenants, rules, max_share, progress, delete=delete)

    with told_in_one_line("sweep temporal"):
        check_installed()
        _print(_run(swept), as_json=as_json)


@sweep.command()
def checkpoints(
    *,
    keep_days: Annotated[
        int, typer.Option(min=1, help="Keep runs that saved something in so many days, whole.")
    ],
    tenant: Annotated[
        list[str] | None,
        typer.Option(help="Whose runs; can be given several times.", show_default="default"),
    ] = None,
    grace: Grace = _WEEK,
    max_share: MaxShare = _SHARE,
    delete: Delete = False,
    as_json: AsJson = False,
) -> None:
    """Sweep the checkpoints of runs whose newest one is older than so many days, with all their states.

    Give a tenant only if nothing but checkpoints is written for the runs that have some: age alone decides here.
    A run that is saved to during the grace is kept.
    """

    async def swept(progress: "Progress") -> "Report":
        from coatcheck.retention.verdict import Rules  # noqa: PLC0415 - slow to load

        rules = Rules(grace=grace, idle=max(timedelta(days=keep_days), grace), checkpoints=True)
        return await _sweep(None, tuple(tenant or ["default"]), rules, max_share, progress, delete=delete)

    with told_in_one_line("sweep checkpoints"):
        _print(_run(swept), as_json=as_json)


async def _sweep(
    live: "LiveRuns | None",
    tenants: tuple[str, ...],
    rules: "Rules",
    max_share: float,
    progress: "Progress",
    *,
    delete: bool,
) -> "Report":
    # Slow to load, and other commands need none of it.
    from coatcheck.chain import Chain  # noqa: PLC0415
    from coatcheck.retention.addresses import Addresses  # noqa: PLC0415
    from coatcheck.retention.sweep import Sweep  # noqa: PLC0415

    async with Chain.from_settings() as chain:
        work = Sweep(
            chain.store,
            Addresses(chain.sealings),
            live,
            tenants=tenants,
            rules=rules,
            max_share=max_share,
            progress=progress,
        )
        return await (work.run() if delete else work.look())


def _run(work: "Callable[[Progress], Coroutine[Any, Any, Report]]") -> "Report":
    with _bar() as progress:
        return asyncio.run(work(progress))


@contextmanager
def _bar() -> "Iterator[Progress]":
    """What is being done and how fast, on standard error, if that is a terminal; nothing stays of it."""
    from rich.console import Console  # noqa: PLC0415 - slow to load
    from rich.progress import Progress as Bars  # noqa: PLC0415
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    console = Console(stderr=True)
    text = TextColumn("{task.description}: {task.completed:,.0f}")
    with Bars(
        SpinnerColumn(),
        text,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:
        task = bars.add_task("beginning", total=None)
        yield lambda what, done: bars.update(task, description=what, completed=done)


def _print(report: "Report", *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_records(report), indent=1))
        return
    typer.echo(f"{'scopes':>12} {'objects':>14} {'bytes':>20}  {'oldest':<10}  {'newest':<10}  what")
    for verdict, tally in sorted(report.tallies.items()):
        if tally.scopes:
            typer.echo(_line(tally, f"would be {verdict}" if report.dry and verdict.acts else str(verdict)))
    if report.dry:
        typer.echo("Nothing was changed: --delete does it.")
    else:
        typer.echo(f"{report.deleted:,} objects of {report.freed:,} bytes were deleted.")


def _line(tally: "Tally", what: str) -> str:
    oldest, newest = (f"{time:%Y-%m-%d}" if time else "" for time in (tally.oldest, tally.newest))
    return f"{tally.scopes:>12,} {tally.objects:>14,} {tally.size:>20,}  {oldest:<10}  {newest:<10}  {what}"


def _records(report: "Report") -> list[dict[str, str | float]]:
    records: list[dict[str, str | float]] = []
    for verdict, tally in sorted(report.tallies.items()):
        figures: list[tuple[str, str | float | None, str]] = [
            ("scopes", tally.scopes, "count"),
            ("objects", tally.objects, "count"),
            ("size", tally.size, "bytes"),
            ("oldest", tally.oldest.isoformat() if tally.oldest else None, "time"),
            ("newest", tally.newest.isoformat() if tally.newest else None, "time"),
        ]
        records += [
            {"case": str(verdict), "name": name, "value": value, "unit": unit}
            for name, value, unit in figures
            if value is not None
        ]
    total = {"objects deleted": (report.deleted, "count"), "bytes freed": (report.freed, "bytes")}
    share = {"share": (round(report.share, 4), "of all objects")} if report.dry else {}
    for name, (value, unit) in (total | share).items():
        records.append({"case": "total", "name": name, "value": value, "unit": unit})
    return records
