"""The results as one Markdown page."""

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.charting.charts import CHARTS
from benchmarks.harness.records import Layout, Record, figure
from benchmarks.harness.suite import Outcome


def page(
    outcomes: Sequence[Outcome], facts: Iterable[tuple[str, str]], noise: Iterable[tuple[str, float, str]]
) -> str:
    """All of it.

    Args:
        outcomes: Of the parts, in their order.
        facts: Of :func:`benchmarks.harness.machine.facts`.
        noise: Of :meth:`benchmarks.harness.machine.Noise.figures`.
    """
    return "\n".join(_lines(outcomes, facts, noise)) + "\n"


def summary(outcomes: Iterable[Outcome]) -> str:
    """How many targets held, in one sentence."""
    done = list(outcomes)
    verdicts = [verdict for outcome in done for verdict in outcome.verdicts]
    failed = [outcome.part.name for outcome in done if outcome.failure]
    text = f"{sum(verdict.met for verdict in verdicts)} of {len(verdicts)} targets held"
    return f"{text}; failed: {', '.join(failed)}" if failed else text


def _lines(
    outcomes: Sequence[Outcome], facts: Iterable[tuple[str, str]], noise: Iterable[tuple[str, float, str]]
) -> Iterator[str]:
    seconds = sum(outcome.seconds for outcome in outcomes)
    yield from (
        "# Results",
        "",
        f"Written by `make bench` in {seconds / 60:.1f} minutes. **{summary(outcomes)}.**",
        "",
    )
    yield "A target is a ratio of two figures of one run, or a count. Every way ran in the same run as its peers, on real"
    yield "servers on this machine. `NAME.json` beside this page has the figures of a part, `run.json` what is said of the run."
    yield ""
    for outcome in outcomes:
        for verdict in outcome.missed:
            yield f"- missed: {verdict.what}: {verdict.found}, {verdict.wanted} ([{outcome.part.name}](#{outcome.part.name}))"
        if outcome.failure:
            yield f"- failed: {outcome.part.name}: {outcome.failure}"
    yield from ("", "## Machine", "", "| | |", "|---|---|")
    yield from (f"| {name} | {value} |" for name, value in facts)
    yield from ("", "How noisy it was: the same fixed work, timed before, between and after the parts.", "")
    yield from ("| | |", "|---|---|")
    yield from (f"| {name} | {figure(value)} {unit} |" for name, value, unit in noise)
    for outcome in outcomes:
        yield from _section(outcome)


def _section(outcome: Outcome) -> Iterator[str]:
    part = outcome.part
    yield from ("", f"## {part.name}", "", part.question, "")
    yield f"`python -m {part.command}`, {outcome.seconds:.0f} s."
    if outcome.failure:
        yield from ("", f"**Failed: {outcome.failure}.**")
        return
    for name, chart in CHARTS.items():
        if chart.part == part.name:
            yield from ("", f"![{part.question}]({name}.png)")
    if outcome.verdicts:
        yield from ("", "| target | found | wanted | held |", "|---|---|---|---|")
        for verdict in outcome.verdicts:
            yield f"| {verdict.what} | {verdict.found} | {verdict.wanted} | {'yes' if verdict.met else '**no**'} |"
    yield from ("", "<details><summary>All figures</summary>", "")
    yield from _table(outcome.records)
    yield from ("", "</details>")


def _table(records: Iterable[Record]) -> Iterator[str]:
    layout = Layout(records)
    yield f"| | | unit | {' | '.join(layout.ways)} |"
    yield "|---" * 3 + "|---:" * len(layout.ways) + "|"
    for where, rows in layout.places.items():
        for (name, unit), found in rows.items():
            cells = (figure(found[way]) if way in found else "" for way in layout.ways)
            yield f"| {where} | {name} | {unit} | {' | '.join(cells)} |"
