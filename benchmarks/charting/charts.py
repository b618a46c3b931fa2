"""Charts of the figures, in one style: a way has the same colour everywhere, and every bar shows its figure.

``python -m benchmarks.charting.charts FOLDER`` draws the charts of a folder of results again.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.charting.drawing import (
    GREY,
    Bar,
    bars,
    count,
    groups,
    new_figure,
    nothing,
    save,
    seconds,
    short_label,
    size,
)
from benchmarks.charting.ways import CODEC, COMPRESS_ONLY, NATIVE, PLAIN, SDK, WAYS, split
from benchmarks.harness.records import from_json, values
from benchmarks.harness.targets import Values
from coatcheck.cli.demo.chart import LIMIT_BYTES, WARNING_BYTES


def growth(value: Values) -> Figure:
    """Draw the history over turns, and the bytes in the store at the end."""
    lines: dict[str, list[float]] = {}
    for (case, _), found in value.items():
        where, way = split(case)
        if where.startswith("turn "):
            lines.setdefault(way, []).append(found)
    longest = max(map(len, lines.values()))
    figure = new_figure(5.2, f"An agent of {longest} turns: bytes in Temporal's history and in S3")
    left, right = figure.subplots(1, 2, width_ratios=(2.3, 1))
    for limit, text in (
        (WARNING_BYTES, "Temporal warns: 10 MiB"),
        (LIMIT_BYTES, "Temporal terminates: 50 MiB"),
    ):
        left.axhline(limit, color=GREY, linestyle="--", linewidth=1)
        left.annotate(text, (1, limit), (0, 3), textcoords="offset points", color=GREY, fontsize=9.5)
    for way, sizes in lines.items():
        left.plot(
            range(1, len(sizes) + 1), sizes, color=WAYS[way].colour, linewidth=3 if way == CODEC else 2.2
        )
        ended = not value[f"{longest} turns {way}", "completed"]
        if ended:
            left.plot(len(sizes), sizes[-1], marker="X", markersize=13, color=WAYS[way].colour)
        left.annotate(
            f"{WAYS[way].label}\n" + (f"terminated at turn {len(sizes)}" if ended else size(sizes[-1])),
            (len(sizes), sizes[-1]),
            (10, 12 if ended else {SDK: 9, CODEC: -9}.get(way, 0)),
            textcoords="offset points",
            color=WAYS[way].colour,
            fontweight="bold",
            fontsize=10,
            va="center",
        )
    left.set_yscale("log")
    left.set_ylim(2e3, 3e8)
    left.set_xlim(0, longest * 1.5)
    left.set_xticks(range(0, longest + 1, max(1, longest // 6)))
    left.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: size(tick)))
    left.grid(visible=True, axis="y", alpha=0.25)
    left.set_xlabel("turn")
    left.set_title("event history of the workflow (log scale)")
    for way in (SDK, CODEC):
        stored_bytes = value[f"{longest} turns {way}", "stored_bytes"]
        drawn = right.bar([short_label(way)], [stored_bytes], color=WAYS[way].colour, width=0.62)
        texts = [size(stored_bytes)]
        right.bar_label(drawn, texts, padding=4, color=WAYS[way].colour, fontweight="bold", fontsize=13)
    right.margins(y=0.12)
    right.set_yticks([])
    right.spines["left"].set_visible(False)
    right.set_title("stored in S3 at the end")
    return figure


def history(value: Values) -> Figure:
    """Draw the sizes and requests of a run."""
    ways = [way for way in (PLAIN, COMPRESS_ONLY, SDK, CODEC, NATIVE) if (way, "history_bytes") in value]
    figure = new_figure(4.4, "A run of the agent on Temporal: its size, and its requests to the store")
    panels = figure.subplots(1, 4, sharey=True)
    for axes, (name, title, form) in zip(
        panels,
        (
            ("history_bytes", "event history", size),
            ("stored_bytes", "stored in S3", size),
            ("requests", "S3 requests", count),
            ("replay_requests", "and of its replay", count),
        ),
        strict=True,
    ):
        bars(axes, [Bar(way, value[way, name]) for way in ways], form, title)
    return figure


def stored(value: Values) -> Figure:
    """Draw the bytes and objects of growing turns, by scheme."""
    figure = new_figure(3.9, "Turns that each repeat the whole conversation: bytes stored, and objects")
    panels = figure.subplots(1, 3, sharey=True, width_ratios=(1.2, 1.2, 1))
    ways = [way for way in WAYS if (f"120 turns {way}", "stored") in value]
    for axes, series in zip(panels, ("60 turns", "120 turns"), strict=False):
        raw = value[f"{series} whole", "stored"] * 1e6
        rows = [Bar(way, value[f"{series} {way}", "stored"] * 1e6) for way in ways]
        bars(axes, rows, lambda found, raw=raw: _times_less(found, raw), f"stored, {series}")  # type: ignore[misc]
    rows = [Bar(way, value[f"120 turns {way}", "puts"]) for way in ways]
    bars(panels[2], rows, count, "PUTs, 120 turns")
    return figure


def replay(value: Values) -> Figure:
    """Draw requests and seconds of replays, and of a worker that takes over."""
    where = _only(value, "replay, ")
    restart = _only(value, "restart, ")
    figure = new_figure(4.2, "Replay of a workflow with a distant store")
    warm, cold, taken_over = figure.subplots(1, 3, width_ratios=(1, 1.15, 1.5))
    ways = [way for way in (PLAIN, COMPRESS_ONLY, SDK, CODEC) if (f"{where} {way}", "warm_requests") in value]
    rows = [Bar(way, value[f"{where} {way}", "warm_requests"]) for way in ways]
    bars(warm, rows, count, "requests of a replay\nby a warm process")
    rows = [Bar(way, value[f"{where} {way}", "cold_seconds"]) for way in ways]
    bars(cold, rows, seconds, f"replay by a new process\n{where.removeprefix('replay, ')} a request")
    cold.set_yticklabels([])
    rows = [
        Bar(way, value[f"{restart} {way}", "seconds"], cut_off=bool(value[f"{restart} {way}", "unfinished"]))
        for way in (SDK, CODEC)
    ]
    bars(
        taken_over,
        rows,
        seconds,
        f"taken over by a new worker\n{restart.removeprefix('restart, ')} a request",
    )
    return figure


def recovery(value: Values) -> Figure:
    """Draw the seconds until a new worker continues after a kill, by step."""
    figure = new_figure(4.4, "Recovery after a kill: seconds in a new process, the store 50 ms away")
    axes = figure.subplots()
    lines: dict[str, list[tuple[int, float]]] = {}
    for (case, name), found in value.items():
        where, way = split(case)
        if name == "back_seconds":
            lines.setdefault(way, []).append((int(where.split()[1]), found))
    for way, points in lines.items():
        steps, taken = zip(*sorted(points), strict=True)
        axes.plot(steps, taken, marker="o", color=WAYS[way].colour, linewidth=2.5)
        axes.annotate(
            f"{WAYS[way].label}: {seconds(taken[-1])}",
            (steps[-1], taken[-1]),
            (10, {PLAIN: -8, CODEC: 8}.get(way, 0)),
            textcoords="offset points",
            color=WAYS[way].colour,
            fontweight="bold",
            va="center",
        )
    axes.set_xlabel("step in which the worker was killed")
    axes.set_ylim(bottom=0)
    axes.set_xlim(right=axes.get_xlim()[1] * 1.4)
    axes.set_xticks(sorted({step for points in lines.values() for step, _ in points}))
    axes.grid(visible=True, axis="y", alpha=0.25)
    return figure


def throughput(value: Values) -> Figure:
    """Draw encode and decode, beside the parts alone and beside zlib."""
    figure = new_figure(
        4.6, "Speed of the whole chain, compressed and sealed: MB/s of payload, more is better"
    )
    panels = figure.subplots(1, 2)
    for axes, (title, names) in zip(
        panels,
        (
            ("encode, one thread", {COMPRESS_ONLY: "encode", "parts": "encode", "coatcheck": "encode"}),
            ("decode", {COMPRESS_ONLY: "decode", "parts": "decode", "coatcheck": "decode_loop"}),
        ),
        strict=True,
    ):
        groups(axes, value, names, count, title=title)
    return figure


def stores(value: Values) -> Figure:
    """Draw objects a second."""
    figure = new_figure(4.6, "S3, 16 requests at once: objects a second, more is better")
    panels = figure.subplots(1, 2)
    shown = {
        key: found
        for key, found in value.items()
        if ", 16 at once" in key[0] and not key[0].startswith("GCS ")
    }
    for axes, task in zip(panels, ("put", "get"), strict=True):
        names = dict.fromkeys(("boto3", "aioboto3", "coatcheck"), f"{task}_per_second")
        groups(
            axes, shown, names, count, title=f"{task.upper()}s", label=lambda where: where.partition(",")[0]
        )
    return figure


def inngest(value: Values) -> Figure:
    """Draw the size of the last request, and the GETs."""
    ways = (PLAIN, "inngest-encryption", "remote-state", "coatcheck")

    def ended(case: str) -> str:
        steps = value[case, "steps"]
        return "" if value[case, "completed"] else f"\nended after {count(steps)} steps"

    figure = new_figure(4.6, "Inngest: an agent whose steps return large results")
    panels = figure.subplots(1, 2)
    for axes, (name, title, form, remark) in zip(
        panels,
        (
            ("last_request", "last request", size, ended),
            ("gets", "GETs in S3, all requests", count, nothing),
        ),
        strict=True,
    ):
        names = dict.fromkeys(ways, name)
        groups(axes, value, names, form, title=title, label=_inngest_case, remark=remark)
    panels[1].set_yticklabels([])
    return figure


def loop_stall(value: Values) -> Figure:
    """Draw the stalls of the event loop."""
    shown = {
        (case.removeprefix("Temporal codec, "), name): found
        for (case, name), found in value.items()
        if case.startswith("Temporal codec")
    }
    figure = new_figure(3.8, "Stalls of the event loop (median, less is better)")
    axes = figure.subplots()
    names = dict.fromkeys((COMPRESS_ONLY, "coatcheck"), "stall_median")
    groups(
        axes,
        shown,
        names,
        lambda found: f"{found:,.0f} ms" if found >= 1 else f"{found:.1f} ms",
        title="Temporal payload codec",
    )
    return figure


def import_time(value: Values) -> Figure:
    """Draw the cost of importing, beside the peers."""
    figure = new_figure(5.2, "Importing, in a new process")
    panels = figure.subplots(1, 2)
    labels = {
        "core": "chain, codecs\nbeside temporalio's client",
        "Temporal worker": "Temporal worker\nbeside temporalio alone",
        "Temporal worker with S3": "Temporal worker and S3\nbeside the SDK's S3 driver",
        "S3 client": "S3\nbeside boto3's client",
        "GCS client": "GCS\nbeside google-cloud-storage",
        "PostgreSQL client": "PostgreSQL\nbeside psycopg",
    }
    shown = {key: found for key, found in value.items() if split(key[0])[0] in labels}
    for axes, (name, title, form) in zip(
        panels,
        (("import_seconds", "seconds", seconds), ("memory_bytes", "memory", size)),
        strict=True,
    ):
        names = dict.fromkeys(("peer", "coatcheck"), name)
        groups(axes, shown, names, form, title=title, label=lambda where: labels[where])
    panels[1].set_yticklabels([])
    return figure


class Chart(NamedTuple):
    """A chart, and the part whose figures it shows."""

    part: str
    draw: Callable[[Values], Figure]


CHARTS: Mapping[str, Chart] = {
    "growth": Chart("growth", growth),
    "history": Chart("history", history),
    "inngest": Chart("inngest", inngest),
    "replay": Chart("replay", replay),
    "recovery": Chart("recovery", recovery),
    "stored": Chart("storage", stored),
    "stores": Chart("stores", stores),
    "throughput": Chart("throughput", throughput),
    "loop_stall": Chart("loop_stall", loop_stall),
    "import_time": Chart("import_time", import_time),
}


def draw_all(folder: Path) -> None:
    """Draw every chart whose figures are in ``folder``, as ``NAME.png`` there."""
    for name, chart in CHARTS.items():
        figures = folder / f"{chart.part}.json"
        if figures.exists():
            save(chart.draw, values(from_json(figures.read_text("utf-8"))), folder / f"{name}.png")


def _only(value: Values, beginning: str) -> str:
    """Return the only place whose name starts with ``beginning``."""
    (where,) = {split(case)[0] for case, _ in value if case.startswith(beginning)}
    return where


def _times_less(found: float, raw: float) -> str:
    return size(found) if found >= raw else f"{size(found)}, {raw / found:.0f}x less"


def _inngest_case(where: str) -> str:
    steps, _, bytes_each = where.partition(" steps of ")
    return f"{steps} results of\n{size(float(bytes_each.removesuffix(' bytes').replace(',', '')))}"


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]))
