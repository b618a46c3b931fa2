"""The page of results, in Markdown."""

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.charting.charts import CHARTS
from benchmarks.harness.records import Layout, Record, figure
from benchmarks.harness.suite import PartResult


def markdown(
    results: Sequence[PartResult], facts: Iterable[tuple[str, str]], noise: Iterable[tuple[str, float, str]]
) -> str:
    """Return the whole page.

    Args:
        results: Results of the parts, in order.
        facts: The facts from :func:`benchmarks.harness.machine.facts`.
        noise: The figures from :meth:`benchmarks.harness.machine.Noise.figures`.
    """
    return "\n".join(_lines(results, facts, noise)) + "\n"


def summary(results: Iterable[PartResult]) -> str:
    """Return the number of targets that were met, in one sentence."""
    done = list(results)
    verdicts = [verdict for result in done for verdict in result.verdicts]
    failed = [result.part.name for result in done if result.failure]
    text = f"{sum(verdict.met for verdict in verdicts)} of {len(verdicts)} targets met"
    return f"{text}; failed: {', '.join(failed)}" if failed else text


def _lines(
    results: Sequence[PartResult], facts: Iterable[tuple[str, str]], noise: Iterable[tuple[str, float, str]]
) -> Iterator[str]:
    seconds = sum(result.seconds for result in results)
    yield from (
        "# Results",
        "",
        f"Written by `make bench` in {seconds / 60:.1f} minutes. **{summary(results)}.**",
        "",
    )
    yield "A target is a ratio of two figures of one run, or a count. Every way ran in the same run as its peers, on real"
    yield "servers on this machine. `NAME.json` beside this page has the figures of a part, `run.json` those of the run."
    yield ""
    for result in results:
        for verdict in result.missed:
            yield f"- missed: {verdict.what}: {verdict.found}, {verdict.wanted} ([{result.part.name}](#{result.part.name}))"
        if result.failure:
            yield f"- failed: {result.part.name}: {result.failure}"
    yield from ("", "## Machine", "", "| | |", "|---|---|")
    yield from (f"| {name} | {value} |" for name, value in facts)
    yield from (
        "",
        "Noise of the machine: the same fixed work, timed before, between and after the parts.",
        "",
    )
    yield from ("| | |", "|---|---|")
    yield from (f"| {name} | {figure(value)} {unit} |" for name, value, unit in noise)
    for result in results:
        yield from _section(result)


def _section(result: PartResult) -> Iterator[str]:
    part = result.part
    yield from ("", f"## {part.name}", "", part.question, "")
    yield f"`python -m {part.command}`, {result.seconds:.0f} s."
    if result.failure:
        yield from ("", f"**Failed: {result.failure}.**")
        return
    for name, chart in CHARTS.items():
        if chart.part == part.name:
            yield from ("", f"![{part.question}]({name}.png)")
    if result.verdicts:
        yield from ("", "| target | found | wanted | met |", "|---|---|---|---|")
        for verdict in result.verdicts:
            yield f"| {verdict.what} | {verdict.found} | {verdict.wanted} | {'yes' if verdict.met else '**no**'} |"
    yield from ("", "<details><summary>All figures</summary>", "")
    yield from _table(result.records)
    yield from ("", "</details>")


def _table(records: Iterable[Record]) -> Iterator[str]:
    layout = Layout(records)
    yield f"| | | unit | {' | '.join(layout.ways)} |"
    yield "|---" * 3 + "|---:" * len(layout.ways) + "|"
    for where, rows in layout.places.items():
        for (name, unit), found in rows.items():
            cells = (figure(found[way]) if way in found else "" for way in layout.ways)
            yield f"| {where} | {name} | {unit} | {' | '.join(cells)} |"
