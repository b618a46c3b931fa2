"""The report on checkpoints as tables for the terminal."""

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from coatcheck.cli.doctor.langgraph.words import ahead, extent, head, is_worth_showing, verdict
from coatcheck.cli.doctor.tables import SHOWN, shares, table
from coatcheck.cli.doctor.words import printable, size
from coatcheck.doctor.places import Place
from coatcheck.doctor.threads import DatabaseDiagnosis, ThreadDiagnosis


def show(found: DatabaseDiagnosis, console: Console) -> None:
    """Print everything about a database."""
    console.print(Text(printable(found.case), style="bold"))
    console.print(Text(head(found)))
    console.print(Text(extent(found)))
    if not found.threads:
        return
    for title, those in (
        ("by thread", found.by_thread),
        ("by namespace", found.by_namespace),
        ("by kind", found.by_kind),
    ):
        console.print(shares(title, those, found.size, "rows", ""))
    for thread in found.threads:
        _show_thread(thread, console)


def _show_thread(found: ThreadDiagnosis, console: Console) -> None:
    console.print(Text(f"thread {printable(found.thread)}", style="bold"))
    console.print(f"{size(found.size)} of rows, {found.steps:,} steps", highlight=False)
    for sentence in verdict(found):
        console.print(Text(sentence))
    if forecast := ahead(found):
        made = table("forecast", "step", "bytes", "coatcheck")
        for steps, plain, chained in forecast:
            made.add_row(f"{steps:,}", plain, chained)
        console.print(made)
    console.print(shares("by channel", found.by_channel, found.size, "values", "values"))
    console.print(shares("by namespace", found.by_namespace, found.size, "rows", "values"))
    console.print(shares("by kind", found.by_kind, found.size, "rows", "values"))
    if found.largest:
        made = table("largest values", "step", "kind", "namespace", "channel", "bytes", "form")
        for place in found.largest[:SHOWN]:
            made.add_row(*_place(place), size(place.size), str(place.form))
        console.print(made)
    if is_worth_showing(found):
        title = f"repeated values, byte for byte: {size(found.repeated)} in total"
        made = table(title, "step", "kind", "namespace", "channel", "times", "extra")
        for repeat in found.repeats[:SHOWN]:
            made.add_row(*_place(repeat.places[0]), f"{len(repeat.places):,}", size(repeat.again))
        console.print(made)


def _place(place: Place) -> Iterable[Text]:
    yield Text(f"{place.number:,}")
    for name, width in ((place.kind, 12), (place.step, 18), (place.where, 24)):
        yield Text(printable(name, width))
