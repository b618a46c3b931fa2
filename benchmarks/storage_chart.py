"""What every scheme stores and asks for, as a picture."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.records import Record

_COLOURS = {"whole": "#9ca3af", "whole-zstd": "#c2410c", "chunked": "#a16207", "coatcheck": "#0f766e"}
_NAMES = {
    "whole": "whole",
    "whole-zstd": "whole, zstd-3",
    "chunked": "content-defined chunks, an object each",
    "coatcheck": "coatcheck",
}
_PANELS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("stored", "stored", lambda value: f"{value:.3g} MB" if value >= 1 else f"{value * 1000:.0f} kB"),
    ("puts", "PUTs to save them all", lambda value: f"{value:,.0f}"),
    ("last_gets", "GETs to be back at the last", lambda value: f"{value:,.0f}"),
)
_BAR = 0.2


def draw(records: Sequence[Record], path: Path) -> None:
    """Write a PNG: bytes, PUTs and GETs, a group of bars for each series.

    Args:
        records: What ``benchmarks.storage`` measured.
        path: The file to write.
    """
    value = {(record.case, record.name): record.value for record in records}
    suffix = " coatcheck"
    series = [
        record.case.removesuffix(suffix)
        for record in records
        if record.name == "stored" and record.case.endswith(suffix)
    ]
    figure = Figure(figsize=(14, 1.6 + 0.85 * len(series)), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(_PANELS), sharey=True, width_ratios=(1.3, 1, 1))
    for axes, (name, title, form) in zip(panels, _PANELS, strict=True):
        _bars(axes, value, series, name, form)
        axes.set_title(title, fontweight="bold", loc="left")
    labels = [f"{name}\n{value[f'{name} whole', 'raw']:.0f} MB raw" for name in series]
    panels[0].set_yticks(range(len(series)), labels)
    panels[0].set_ylim(len(series) - 0.5, -0.5)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(_NAMES), frameon=False)
    figure.suptitle("Keeping what an agent saves step by step: four ways (log scales)", fontweight="bold")
    figure.savefig(path, format="png")


def _bars(
    axes: Axes,
    value: dict[tuple[str, str], float],
    series: Sequence[str],
    name: str,
    form: Callable[[float], str],
) -> None:
    for number, (scheme, colour) in enumerate(_COLOURS.items()):
        places = [row + (number - 1.5) * _BAR for row in range(len(series))]
        lengths = [value[f"{case} {scheme}", name] for case in series]
        weight = "bold" if scheme == "coatcheck" else "normal"
        bars = axes.barh(places, lengths, height=_BAR, color=colour, label=_NAMES[scheme])
        axes.bar_label(
            bars, [form(length) for length in lengths], padding=3, fontsize=8, color=colour, fontweight=weight
        )
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low if name == "stored" else 0.7, high * 4)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: form(tick)))
    axes.grid(visible=True, axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
