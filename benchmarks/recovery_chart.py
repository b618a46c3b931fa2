"""How long it takes to be back, as a picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.records import Record

_COLOURS = {"plain": "#c2410c", "coatcheck file": "#0f766e", "coatcheck 50 ms": "#0369a1"}
_LABELS = {
    "plain": "plain Temporal",
    "coatcheck file": "coatcheck, a folder",
    "coatcheck 50 ms": "coatcheck, a store that answers in 50 ms",
}


def draw(records: Sequence[Record], path: Path) -> None:
    """Write a PNG: seconds until a killed worker's successor is at work again, over the step that it was in.

    Args:
        records: What ``benchmarks.recovery`` measured; cases are ``step N CASE``.
        path: The file to write.
    """
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for case, label in _LABELS.items():
        points = sorted(
            (int(record.case.split()[1]), record.value / 1000)
            for record in records
            if record.name == "together" and record.case.endswith(f" {case}")
        )
        steps, seconds = zip(*points, strict=True)
        axes.plot(steps, seconds, marker="o", color=_COLOURS[case], label=label, linewidth=2)
        axes.annotate(f" {seconds[-1]:.2f} s", (steps[-1], seconds[-1]), color=_COLOURS[case], va="center")
    axes.set_xlabel("step in which the worker was killed")
    axes.set_ylabel("seconds in a cold process")
    axes.set_ylim(bottom=0)
    axes.set_title(
        "Back at work: the step's input, and the replay of the workflow", fontweight="bold", loc="left"
    )
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png")
