"""The result of a sweep as a table or as records."""

import json
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from coatcheck.retention.tally import Report, Tally

_LEGEND: Final = {
    "live": "the engine has a run of it, or a schedule that will need it",
    "young": "no run, but recent writes; the first can be marked from {next}",
    "marked": "no run; will be deleted after the grace if there is still none",
    "waiting": "marked earlier; the first can be deleted from {next}",
    "spared": "marked earlier, but kept: it has a run again, or new writes",
    "deleted": "no run when marked, and none after the grace",
    "trimmed": "the latest checkpoints are kept; objects that only older ones needed are deleted",
    "unreadable": "kept, because a checkpoint to be kept cannot be read; run coatcheck verify",
    "under way": "another sweep is working on it, or was interrupted; can be finished from {next}",
    "forged": "left alone: it has marks that no sweep made; check who may write to the store",
    "denied": "the store refuses to delete some of its objects; the next sweep tries again",
    "failed": "the store or a key failed, see the log; the next sweep tries again",
}
_BAD: Final = ("denied", "failed", "forged", "unreadable")


def print_report(report: "Report", max_share: float, *, as_json: bool) -> None:
    """Print a table with a legend, or JSON records. Exit with status 1 if something could not be swept.

    Args:
        report: The result of the sweep.
        max_share: Share of all objects above which a sweep refuses.
        as_json: Print records.
    """
    if as_json:
        typer.echo(json.dumps(_records(report), indent=1))
    else:
        _print_table(report, max_share)
    if any(tally.scopes for action, tally in report.tallies.items() if action in _BAD):
        raise typer.Exit(1)


def _print_table(report: "Report", max_share: float) -> None:
    tallies = [(action, tally) for action, tally in sorted(report.tallies.items()) if tally.scopes]
    typer.echo(f"{'scopes':>12} {'objects':>14} {'bytes':>20}  {'oldest':<10}  {'newest':<10}  action")
    for action, tally in tallies:
        typer.echo(_line(tally, f"would be {action}" if report.dry and action.acts else str(action)))
    for action, tally in tallies:
        typer.echo(f"{action}: {_LEGEND[action].format(next=_date(tally.next) or 'now')}.")
    if report.forged:
        typer.echo(
            f"{report.forged:,} marks were ignored: no sweep made them, or somebody restored old ones. Check who may write "
            "to the store."
        )
    if report.denied:
        typer.echo(f"The store refused to delete {report.denied:,} objects (object lock?).")
    if not report.dry:
        typer.echo(f"{report.deleted:,} objects of {report.freed:,} bytes were deleted.")
    elif report.share > max_share:
        typer.echo(
            f"Dry run. --delete would refuse: {report.share:.0%} of all objects are or would be marked, more than --max-share "
            f"{max_share:g}. If that is correct, raise --max-share."
        )
    else:
        typer.echo("Dry run. Use --delete to apply.")
    if report.versions_left:
        typer.echo(
            "The bucket may still have old versions of deleted objects: the credentials may not list or delete them (use a "
            "lifecycle rule: coatcheck store lifecycle), or the server would lose concurrent writes."
        )


def _line(tally: "Tally", what: str) -> str:
    oldest, newest = _date(tally.oldest), _date(tally.newest)
    return f"{tally.scopes:>12,} {tally.objects:>14,} {tally.size:>20,}  {oldest:<10}  {newest:<10}  {what}"


def _date(time: "datetime | None") -> str:
    return f"{time:%Y-%m-%d}" if time else ""


def _records(report: "Report") -> list[dict[str, str | float]]:
    records: list[dict[str, str | float]] = []
    for action, tally in sorted(report.tallies.items()):
        figures: list[tuple[str, str | float | None, str]] = [
            ("scopes", tally.scopes, "count"),
            ("objects", tally.objects, "count"),
            ("size", tally.size, "bytes"),
            ("oldest", tally.oldest.isoformat() if tally.oldest else None, "time"),
            ("newest", tally.newest.isoformat() if tally.newest else None, "time"),
            ("next step", tally.next.isoformat() if tally.next else None, "time"),
        ]
        records += [
            {"case": str(action), "name": name, "value": value, "unit": unit}
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
