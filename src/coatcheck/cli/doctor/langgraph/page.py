"""The report on checkpoints as one HTML page, like the one on histories."""

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from coatcheck.cli.doctor.chart import Curve, chart
from coatcheck.cli.doctor.langgraph.words import ahead, extent, head, is_worth_showing, verdict
from coatcheck.cli.doctor.markup import element
from coatcheck.cli.doctor.page import Cell, bars, document, table
from coatcheck.cli.doctor.words import size
from coatcheck.doctor.places import Place, Share
from coatcheck.doctor.threads import DatabaseDiagnosis, ThreadDiagnosis

_AHEAD = 3
"""Longest forecast, as a multiple of the steps so far."""
_ROOM = 1.5


def page(found: DatabaseDiagnosis) -> str:
    """Return the whole file."""
    body = element("body", element("h1", "Checkpoints of LangGraph"), element("h2", found.case))
    body.extend([element("p", head(found), class_="weak"), element("p", extent(found))])
    for title, those in (
        ("thread", found.by_thread),
        ("namespace", found.by_namespace),
        ("kind", found.by_kind),
    ):
        if those:
            body.extend([element("h3", f"Bytes by {title}"), _sizes(those, found.size)])
    for thread in found.threads:
        body.append(_section(thread))
    return document(body)


def _sizes(shares: Sequence[Share], whole: int) -> Element:
    rows: list[list[Cell]] = [
        [
            share.name,
            f"{share.count:,}",
            size(share.size),
            element("div", style=f"width: {100 * share.size / max(1, whole):.1f}%"),
        ]
        for share in shares
    ]
    return table(["", "rows", "bytes", ""], rows, names=1, bar=True)


def _section(found: ThreadDiagnosis) -> Element:
    made = element(
        "section",
        element("h2", f"thread {found.thread}"),
        element("p", f"{size(found.size)} of rows, {found.steps:,} steps", class_="weak"),
        element("ul", *(element("li", sentence) for sentence in verdict(found))),
    )
    drawn = _chart(found)
    if drawn is not None:
        made.extend([element("h3", "Growth (dotted: forecast; logarithmic scale)"), drawn])
    if forecast := ahead(found):
        rows: list[list[Cell]] = [[f"{steps:,}", plain, chained] for steps, plain, chained in forecast]
        made.extend([element("h3", "Forecast"), table(["step", "bytes", "with coatcheck"], rows, names=0)])
    for title, shares, count in (
        ("channel", found.by_channel, "values"),
        ("namespace", found.by_namespace, "rows"),
        ("kind", found.by_kind, "rows"),
    ):
        heading = ["", count, "bytes", "values", "share", ""]
        made.extend([element("h3", f"Bytes by {title}"), bars(shares, max(1, found.size), heading)])
    if found.largest:
        rows = [[*_place(place), size(place.size), str(place.form)] for place in found.largest]
        heading = ["kind", "namespace", "channel", "step", "bytes", "form"]
        made.extend([element("h3", "Largest values"), table(heading, rows, names=3)])
    if is_worth_showing(found):
        rows = [
            [*_place(repeat.places[0]), f"{len(repeat.places):,}", size(repeat.again)]
            for repeat in found.repeats
        ]
        heading = ["kind", "namespace", "channel", "first in step", "times", "extra"]
        title = f"Repeated values, byte for byte: {size(found.repeated)} in total"
        made.extend([element("h3", title), table(heading, rows, names=3)])
    return made


def _chart(found: ThreadDiagnosis) -> Element | None:
    plain, chained = found.growth, found.chained.growth
    if plain is None or chained is None:
        return None
    last = math.ceil(_AHEAD * found.steps if plain.steady else _ROOM * found.steps)
    highest = plain.at(last) if plain.steady else plain.points[-1]
    return chart(
        Curve(plain.points, plain),
        Curve(chained.points, chained),
        last=last,
        most=_ROOM * max(highest, chained.points[-1], 2 * chained.points[0]),
        limits=(),
        subject="thread",
        axis="steps",
    )


def _place(place: Place) -> list[Cell]:
    return [place.kind, place.step, place.where, f"{place.number:,}"]
