"""Printing what a sweep found, and did."""

import json
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from coatcheck.retention.report import Report, Tally


def print_report(report: "Report", *, as_json: bool) -> None:
    """As a table, or as records."""
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
    if report.versions_left:
        typer.echo(
            "Versions that the bucket keeps of them may be left: the credentials may not see or delete those (let a rule do "
            "it: coatcheck store lifecycle), or the server would lose what is written meanwhile."
        )


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
