"""Common parts of all charts: one style, bars with figures, and formats of figures."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.charting.ways import WAYS, split
from benchmarks.harness.targets import Values

_STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9ca3af",
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "figure.titlesize": 14,
    "figure.titleweight": "bold",
    "xtick.color": "#4b5563",
    "ytick.color": "#111827",
}
_WIDTH, _DPI = 10.0, 120
GREY = "#6b7280"

Form = Callable[[float], str]


def save(draw: Callable[[Values], Figure], value: Values, path: Path) -> None:
    """Write one chart as PNG."""
    with rc_context(_STYLE):
        draw(value).savefig(path, format="png")


class Bar(NamedTuple):
    """A bar: a way, its figure and its label."""

    way: str
    length: float
    label: str = ""
    """A label instead of the way's own."""
    cut_off: bool = False
    """True if the measurement was ended early: the real figure is larger."""


def size(found: float) -> str:
    """Format bytes."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if found >= factor:
            return (
                f"{found / factor:.3g} {unit}" if found < 1000 * factor else f"{found / factor:,.0f} {unit}"
            )
    return f"{found:.0f} B" if found else "0"


def count(found: float) -> str:
    """Format a count."""
    return f"{found:,.0f}"


def seconds(found: float) -> str:
    """Format seconds."""
    return f"{found:.2f} s" if found < 1 else f"{found:.1f} s"


def nothing(_case: str) -> str:
    """Return an empty remark."""
    return ""


def new_figure(height: float, title: str) -> Figure:
    """Create an empty figure, ``height`` inches high, with its title at the left."""
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def bars(axes: Axes, rows: Sequence[Bar], form: Form, title: str) -> None:
    """Draw one bar for each row, from top to bottom."""
    drawn = axes.barh(
        range(len(rows)),
        [row.length for row in rows],
        color=[WAYS[row.way].colour for row in rows],
        hatch=["//" if row.cut_off else "" for row in rows],
        edgecolor="white",
        height=0.62,
    )
    texts = [f"not back\nafter {row.length:.0f} s" if row.cut_off else form(row.length) for row in rows]
    for bar, row, text in zip(drawn, rows, texts, strict=True):
        inside = row.cut_off
        axes.annotate(
            text,
            (bar.get_width(), bar.get_y() + bar.get_height() / 2),
            (-6 if inside else 5, 0),
            textcoords="offset points",
            ha="right" if inside else "left",
            va="center",
            fontweight="bold",
            color="white" if inside else WAYS[row.way].colour,
            bbox={"facecolor": WAYS[row.way].colour, "edgecolor": "none", "pad": 1.5} if inside else None,
        )
    axes.set_yticks(range(len(rows)), [row.label or short_label(row.way) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, max(row.length for row in rows) * 1.45 or 1)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(left=False)
    axes.set_title(title)


def groups(
    axes: Axes,
    value: Values,
    names: Mapping[Any, str],
    form: Form,
    *,
    title: str,
    label: Callable[[str], str] = str,
    remark: Callable[[str], str] = nothing,
) -> None:
    """Draw a group of bars for each place, with one bar for each way.

    Args:
        axes: The axes to draw on.
        value: All figures.
        names: The figure's name by way.
        form: Formats a figure.
        title: The title of the axes.
        label: Formats the name of a place.
        remark: Returns a text to add to a case's figure.
    """
    places = list(dict.fromkeys(split(case)[0] for case, _ in value if split(case)[1] in names))
    places = [
        where for where in places if any((f"{where} {way}", name) in value for way, name in names.items())
    ]
    height = 0.8 / len(names)
    for number, (way, name) in enumerate(names.items()):
        rows = [
            (at, value[f"{where} {way}", name])
            for at, where in enumerate(places)
            if (f"{where} {way}", name) in value
        ]
        drawn = axes.barh(
            [at + (number - (len(names) - 1) / 2) * height for at, _ in rows],
            [length for _, length in rows],
            height=height * 0.94,
            color=WAYS[way].colour,
            label=WAYS[way].label,
        )
        texts = [form(length) + remark(f"{places[at]} {way}") for at, length in rows]
        axes.bar_label(drawn, texts, padding=4, fontsize=9.5, color=WAYS[way].colour, fontweight="bold")
    axes.set_yticks(range(len(places)), [label(where) for where in places])
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.set_xlim(0, axes.get_xlim()[1] * 1.2)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(left=False)
    axes.set_title(title)
    figure = axes.get_figure()
    if isinstance(figure, Figure) and not figure.legends:
        handles, texts = axes.get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside lower center", ncols=len(names), frameon=False)


def short_label(way: str) -> str:
    """Return a way's label, wrapped to fit beside a bar."""
    return textwrap.fill(WAYS[way].label, 18, break_long_words=False)
