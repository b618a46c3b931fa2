"""A chart of the growth of the two histories."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from coatcheck.cli.demo.results import size
from coatcheck.cli.demo.runs import RunResult

WARNING_BYTES = 10 * 2**20
LIMIT_BYTES = 50 * 2**20
_PLAIN, _CHAINED = "#c2410c", "#0f766e"


def draw(results: Sequence[RunResult], path: Path) -> None:
    """Write a PNG: history size over turns, of the longest plain and the longest chained run.

    Args:
        results: Every run of the demo.
        path: The file to write.
    """
    figure = Figure(figsize=(9.6, 5.4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    plain = max((o for o in results if not o.case.chained), key=lambda o: o.case.turns)
    chained = max((o for o in results if o.case.chained), key=lambda o: o.case.turns)
    _limits(axes)
    _line(axes, plain, "plain Temporal", _PLAIN, drop=36)
    _line(axes, chained, "with coatcheck", _CHAINED, drop=18)
    _deaths(axes, plain)
    for result in results:
        if result.recovered and result.equal:
            _kill(axes, result)
    axes.set_yscale("log")
    axes.set_ylim(1e3, 3e8)
    axes.set_xlim(0, chained.case.turns * 1.04)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: size(round(value)).replace(".0", "")))
    axes.set_xlabel("turns of the agent, each given the whole conversation")
    axes.set_ylabel("event history of the workflow (log scale)")
    axes.set_title("Temporal history of the same agent, without and with coatcheck", fontweight="bold")
    axes.grid(visible=True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png")


def _line(axes: Axes, result: RunResult, label: str, colour: str, *, drop: int) -> None:
    """Draw a line with a label, ``drop`` points below it."""
    sizes = result.history.size_after_turn
    if not sizes:
        return
    axes.plot(range(1, len(sizes) + 1), sizes, color=colour, linewidth=2.5)
    at = min(result.case.turns // 2, len(sizes))
    axes.annotate(
        f"{label}: {size(sizes[at - 1])} at turn {at}",
        (at, sizes[at - 1]),
        xytext=(8, -drop),
        textcoords="offset points",
        color=colour,
        fontweight="bold",
    )


def _limits(axes: Axes) -> None:
    for value, text in (
        (WARNING_BYTES, "Temporal warns: 10 MiB"),
        (LIMIT_BYTES, "Temporal terminates: 50 MiB"),
    ):
        axes.axhline(value, color="#6b7280", linestyle="--", linewidth=1)
        axes.annotate(
            text,
            (0.01, value),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            color="#374151",
            fontsize=9,
        )


def _deaths(axes: Axes, result: RunResult) -> None:
    sizes = result.history.size_after_turn
    if result.completed or not sizes:
        return
    axes.plot(len(sizes), sizes[-1], marker="X", markersize=12, color=_PLAIN)
    axes.annotate(
        f"{result.history.status} by the server\nafter turn {len(sizes)}",
        (len(sizes), sizes[-1]),
        xytext=(0, 10),
        textcoords="offset points",
        ha="center",
        color=_PLAIN,
        fontweight="bold",
    )


def _kill(axes: Axes, result: RunResult) -> None:
    turn = result.case.kill_at or 1
    height = result.history.size_after_turn[turn - 1]
    axes.plot(turn, height, marker="o", markersize=8, color=_CHAINED)
    axes.annotate(
        f"worker killed in turn {turn},\nfinished by another, byte for byte equal",
        (turn, height),
        xytext=(-10, 26),
        textcoords="offset points",
        ha="center",
        color=_CHAINED,
        fontsize=9,
        arrowprops={"arrowstyle": "-", "color": _CHAINED},
    )
