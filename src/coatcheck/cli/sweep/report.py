"""Printing what a sweep found, and did."""

import json
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from coatcheck.retention.report import Report, Tally

_LEGEND: Final = {
    "live": "the engine has a run of it, or a schedule that will need it",
    "young": "no run, but written to not long ago; the first can be marked from {next} on",
    "marked": "no run; deleted a grace later, if there is still none",
    "waiting": "marked before; the first can be deleted from {next} on",
    "spared": "marked before, and kept, since it has a run again or was written to",
    "deleted": "no run at either look",
    "trimmed": "the latest checkpoints are kept, and what only others needed is deleted",
    "unreadable": "kept, since a checkpoint that is to be kept cannot be read: coatcheck verify",
    "under way": "another sweep is at it, or was interrupted; can be finished from {next} on",
    "forged": "left alone: somebody writes marks that no sweep made; see who may write to the store",
    "denied": "the store does not allow to delete something of it; tried again by the next sweep",
    "failed": "the store or a key failed; see the log; tried again by the next sweep",
}
_BAD: Final = ("denied", "failed", "forged", "unreadable")


def print_report(report: "Report", max_share: float, *, as_json: bool) -> None:
    """Print it as a table with a legend, or as records. Exit 1 if something could not be swept."""
    if as_json:
        typer.echo(json.dumps(_records(report), indent=1))
    else:
        _print_table(report, max_share)
    if any(tally.scopes for verdict, tally in report.tallies.items() if verdict in _BAD):
        raise typer.Exit(1)


def _print_table(report: "Report", max_share: float) -> None:
    tallies = [(verdict, tally) for verdict, tally in sorted(report.tallies.items()) if tally.scopes]
    typer.echo(f"{'scopes':>12} {'objects':>14} {'bytes':>20}  {'oldest':<10}  {'newest':<10}  what")
    for verdict, tally in tallies:
        typer.echo(_line(tally, f"would be {verdict}" if report.dry and verdict.acts else str(verdict)))
    for verdict, tally in tallies:
        typer.echo(f"{verdict}: {_LEGEND[verdict].format(next=_date(tally.next) or 'now')}.")
    if report.forged:
        typer.echo(
            f"{report.forged:,} marks were ignored: no sweep made them, or somebody put them back. See who may write to the "
            "store."
        )
    if report.denied:
        typer.echo(f"{report.denied:,} objects may not be deleted, says the store (object lock?).")
    if not report.dry:
        typer.echo(f"{report.deleted:,} objects of {report.freed:,} bytes were deleted.")
    elif report.share > max_share:
        typer.echo(
            f"Dry run. --delete would refuse: {report.share:.0%} of all objects are on their way out, more than --max-share "
            f"{max_share:g}. If that is right, allow more."
        )
    else:
        typer.echo("Dry run. Use --delete to apply.")
    if report.versions_left:
        typer.echo(
            "Versions that the bucket keeps of them may be left: the credentials may not see or delete those (let a rule do "
            "it: coatcheck store lifecycle), or the server would lose what is written meanwhile."
        )


def _line(tally: "Tally", what: str) -> str:
    oldest, newest = _date(tally.oldest), _date(tally.newest)
    return f"{tally.scopes:>12,} {tally.objects:>14,} {tally.size:>20,}  {oldest:<10}  {newest:<10}  {what}"


def _date(time: "datetime | None") -> str:
    return f"{time:%Y-%m-%d}" if time else ""


def _records(report: "Report") -> list[dict[str, str | float]]:
    records: list[dict[str, str | float]] = []
    for verdict, tally in sorted(report.tallies.items()):
        figures: list[tuple[str, str | float | None, str]] = [
            ("scopes", tally.scopes, "count"),
            ("objects", tally.objects, "count"),
            ("size", tally.size, "bytes"),
            ("oldest", tally.oldest.isoformat() if tally.oldest else None, "time"),
            ("newest", tally.newest.isoformat() if tally.newest else None, "time"),
            ("next step", tally.next.isoformat() if tally.next else None, "time"),
        ]
        records += [
            {"case": str(verdict), "name": name, "value": value, "unit": unit}
            for name, value, unit in figures
            if value is not None
        ]
    total = {
        "objects deleted": (report.deleted, "count"),
        "bytes freed": (report.freed, "bytes"),
        "objects denied": (report.denied, "count"),
        "marks ignored": (report.forged, "count"),
    }
    share = {"share": (round(report.share, 4), "of all objects")} if report.dry else {}
    for name, (value, unit) in (total | share).items():
        records.append({"case": "total", "name": name, "value": value, "unit": unit})
    return records
