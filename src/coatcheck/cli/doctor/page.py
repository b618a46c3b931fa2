"""The report as one HTML page: no scripts, nothing fetched, light and dark."""

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element, tostring

from coatcheck.cli.doctor.chart import growth_chart
from coatcheck.cli.doctor.markup import element
from coatcheck.cli.doctor.words import (
    amount,
    first_end,
    limit,
    percent,
    size,
    turn,
    verdict,
)
from coatcheck.doctor.diagnosis import Diagnosis
from coatcheck.doctor.places import Place, Share

_STYLE = """
:root { color-scheme: light dark; --text: #1c1917; --weak: #57534e; --line: #e7e5e4; --paper: #fff;
  --plain: #c2410c; --chained: #0f766e; }
@media (prefers-color-scheme: dark) { :root { --text: #f5f5f4; --weak: #a8a29e; --line: #44403c; --paper: #1c1917;
  --plain: #fb923c; --chained: #2dd4bf; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--paper); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; overflow-wrap: anywhere; margin-top: 3rem; }
h3 { font-size: 1rem; margin: 2rem 0 .5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .5rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--weak); font-weight: 600; }
.name { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.bar { width: 30%; } .bar div { background: var(--plain); height: .75rem; border-radius: 2px; }
.met { color: var(--plain); font-weight: 600; }
.weak { color: var(--weak); }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: var(--weak); }
svg line.grid { stroke: var(--line); } svg line.limit { stroke: var(--weak); stroke-dasharray: 6 4; }
svg polyline { fill: none; stroke-width: 2.5; } svg .forecast { stroke-dasharray: 2 5; }
svg polyline.plain { stroke: var(--plain); } svg polyline.chained { stroke: var(--chained); }
svg circle.plain, svg text.plain { fill: var(--plain); } svg circle.chained, svg text.chained { fill: var(--chained); }
svg text.plain, svg text.chained { font-weight: 600; }
"""
_BARS = ("", "events", "bytes", "payloads", "share", "")
_NOTHING_BUT_STYLE = "default-src 'none'; style-src 'unsafe-inline'"

Cell = Element | str
"""The content of a cell."""


def page(diagnoses: Sequence[Diagnosis]) -> str:
    """Return the whole file."""
    body = element("body", element("h1", "Temporal histories"))
    if len(diagnoses) != 1:
        body.append(element("p", f"{len(diagnoses)} runs, those closest to a limit first."))
        body.append(_overview(diagnoses))
    for number, diagnosis in enumerate(diagnoses, 1):
        body.append(_section(diagnosis, f"run-{number}"))
    return document(body)


def document(body: Element) -> str:
    """Return the whole file around a body."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_NOTHING_BUT_STYLE),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", "coatcheck doctor"),
        element("style", _STYLE.replace("\n", " ")),
    )
    html = element("html", head, body, lang="en")
    return "<!doctype html>\n" + tostring(html, encoding="unicode", method="html") + "\n"


def _overview(diagnoses: Sequence[Diagnosis]) -> Element:
    rows: list[list[Cell]] = []
    for number, one in enumerate(diagnoses, 1):
        ends, chained = first_end(one.distances), first_end(one.prospect.distances)
        rows.append(
            [
                element("a", one.case, href=f"#run-{number}"),
                size(one.size),
                f"{one.turns:,}",
                f"turn {turn(ends)}" if ends else "-",
                size(one.prospect.size),
                f"turn {turn(chained)}" if chained else "-",
            ]
        )
    return table(["run", "history", "turns", "ends at", "with coatcheck", "ends at"], rows, names=1)


def _section(diagnosis: Diagnosis, anchor: str) -> Element:
    made = element(
        "section",
        element("h2", diagnosis.case),
        element(
            "p",
            f"{size(diagnosis.size)} of history, {diagnosis.events:,} events, {diagnosis.turns:,} turns",
            class_="weak",
        ),
        element("ul", *(element("li", sentence) for sentence in verdict(diagnosis))),
        id=anchor,
    )
    chart = growth_chart(diagnosis)
    if chart is not None:
        made.extend([element("h3", "Growth (dotted: forecast; logarithmic scale)"), chart])
    made.extend([element("h3", "Limits"), _limits(diagnosis)])
    made.extend([element("h3", "Bytes by event type"), bars(diagnosis.by_kind, diagnosis.size)])
    if diagnosis.by_step:
        made.extend([element("h3", "Bytes by activity"), bars(diagnosis.by_step, diagnosis.size)])
    if diagnosis.largest:
        made.extend([element("h3", "Largest payloads"), _largest(diagnosis)])
    if diagnosis.repeats:
        heading = f"Repeated payloads, byte for byte: {size(diagnosis.repeated)} in total"
        made.extend([element("h3", heading), _repeats(diagnosis)])
    return made


def _limits(diagnosis: Diagnosis) -> Element:
    rows: list[list[Cell]] = []
    for plain, chained in zip(diagnosis.distances, diagnosis.prospect.distances, strict=True):
        now = amount(plain.limit.measure, plain.now)
        rows.append(
            [
                limit(plain.limit),
                plain.limit.consequence,
                element("span", now, class_="met") if plain.met else now,
                percent(plain.share),
                turn(plain),
                amount(chained.limit.measure, chained.now),
                turn(chained),
            ]
        )
    heading = ["limit", "consequence", "now", "used", "at turn", "with coatcheck", "at turn"]
    return table(heading, rows, names=2)


def bars(shares: Iterable[Share], whole: int, heading: Sequence[str] = _BARS) -> Element:
    """Build a table of shares with bars.

    Args:
        shares: The rows.
        whole: Bytes of all.
        heading: Titles of the columns.
    """
    rows: list[list[Cell]] = [
        [
            share.name,
            f"{share.count:,}",
            size(share.size),
            size(share.payloads),
            percent(share.size / whole),
            element("div", style=f"width: {100 * share.size / whole:.1f}%"),
        ]
        for share in shares
    ]
    return table(heading, rows, names=1, bar=True)


def _largest(diagnosis: Diagnosis) -> Element:
    rows: list[list[Cell]] = [
        [*_place(place), size(place.size), str(place.form)] for place in diagnosis.largest
    ]
    return table(["event type", "activity", "field", "event", "bytes", "form"], rows, names=3)


def _repeats(diagnosis: Diagnosis) -> Element:
    rows: list[list[Cell]] = [
        [*_place(repeat.places[0]), f"{len(repeat.places):,}", size(repeat.again)]
        for repeat in diagnosis.repeats
    ]
    return table(["event type", "activity", "field", "first in event", "times", "extra"], rows, names=3)


def _place(place: Place) -> list[Cell]:
    return [place.kind, place.step, place.where, f"{place.number:,}"]


def table(
    heading: Sequence[str], rows: Iterable[Sequence[Cell]], *, names: int, bar: bool = False
) -> Element:
    """Build a table.

    Args:
        heading: Titles of the columns.
        rows: Cells, one for each column.
        names: Number of columns on the left that hold names.
        bar: Show the last column as a bar.
    """

    def style(column: int) -> str:
        if column < names:
            return "name"
        return "bar" if bar and column == len(heading) - 1 else ""

    def row(tag: str, cells: Sequence[Cell]) -> Element:
        return element("tr", *(element(tag, cell, class_=style(at)) for at, cell in enumerate(cells)))

    made = element(
        "table", element("thead", row("th", heading)), element("tbody", *(row("td", r) for r in rows))
    )
    return element("div", made, class_="wide")
