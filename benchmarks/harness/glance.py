"""The table at the top of the README, from the results: ``python -m benchmarks.harness.glance``."""

from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.charting.drawing import count, seconds, size
from benchmarks.charting.ways import CODEC, COMPRESS_ONLY, PLAIN, SDK
from benchmarks.harness.records import from_json, values
from benchmarks.harness.targets import Values

RESULTS = Path(__file__).parents[1] / "results"
README = Path(__file__).parents[2] / "README.md"
_WAYS = (PLAIN, COMPRESS_ONLY, SDK, CODEC)
_BEGIN, _END = "<!-- written by make bench -->", "<!-- end -->"


def rewrite(page: Path = README, folder: Path = RESULTS) -> None:
    """Replace the table of results in the page.

    Raises:
        FileNotFoundError: A part in the table has no figures.
        ValueError: The page has no place for the table.
    """
    text = page.read_text("utf-8")
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{page} lacks {_BEGIN} or {_END}")
    page.write_text(f"{before}{begin}\n{table(folder)}\n{end}{after}", encoding="utf-8")


def table(folder: Path = RESULTS) -> str:
    """Return the table in Markdown."""
    return "\n".join(
        [
            "| an agent on Temporal | plain | compress-only | SDK external storage | coatcheck | shown by |",
            "|---|---|---|---|---|---|",
            *_rows(*(values(from_json((folder / f"{part}.json").read_text("utf-8"))) for part in _PARTS)),
        ]
    )


_PARTS = ("growth", "history", "replay")


def _rows(growth: Values, history: Values, replay: Values) -> Iterator[str]:
    def ends(way: str) -> str:
        case = f"120 turns {way}"
        if not growth[case, "completed"]:
            return f"terminated at turn {count(growth[case, 'turns'])}"
        return size(growth[case, "history_bytes"])

    def stored(way: str) -> str:
        return size(growth[f"120 turns {way}", "stored_bytes"])

    def requests(way: str) -> str:
        return f"{count(history[way, 'requests'])}, {count(history[way, 'replay_requests'])}"

    def live(way: str) -> str:
        return seconds(replay[f"live, 60 steps, 50 ms {way}", "live_seconds"])

    def cold(way: str) -> str:
        return seconds(replay[f"replay, 60 steps, 50 ms {way}", "cold_seconds"])

    def restarted(way: str) -> str:
        case = f"restart, 200 steps, 300 ms {way}"
        took = seconds(replay[case, "seconds"])
        return (
            f"not back after {replay[case, 'seconds']:.0f} s"
            if replay[case, "unfinished"]
            else f"back in {took}"
        )

    outside = (SDK, CODEC)
    yield _row("event history, 120 turns", ends, _WAYS, "growth")
    yield _row("stored in S3, 120 turns", stored, outside, "growth")
    yield _row("requests to S3, 60 turns: the run, its replay", requests, outside, "history")
    yield _row("60 turns, S3 50 ms away", live, outside, "replay")
    yield _row("their replay in a new process", cold, outside, "replay")
    yield _row("200 turns, S3 300 ms away, worker restarted", restarted, outside, "replay")


def _row(what: str, cell: Callable[[str], str], ways: tuple[str, ...], command: str) -> str:
    cells = (cell(way) if way in ways else "" for way in _WAYS)
    *others, ours = cells
    return f"| {what} | {' | '.join(others)} | **{ours}** | `python -m benchmarks.{command}` |"


if __name__ == "__main__":
    rewrite()
