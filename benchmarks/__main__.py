"""Everything that is measured, in one run: ``python -m benchmarks [--only NAME ...] [--to FOLDER]``, or ``make bench``.

The parts run one after the other, each in a process of its own. Figures (JSON), charts (PNG) and a page (README.md) replace
what was in the folder when all is done, and the README shows the best of them; interrupted, everything stays as it was. Exits 0 if every target held, 1 if one
was missed or a part failed, 130 if interrupted.
"""

import argparse
import json
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.charting import charts
from benchmarks.harness import glance, report
from benchmarks.harness.machine import Noise, facts
from benchmarks.harness.records import note
from benchmarks.harness.suite import PARTS, Outcome, Part, run

_BUILD = Path(__file__).parents[1] / "build"
_PARTIAL = _BUILD / "benchmarks"
_INTERRUPTED = 128 + signal.SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    options = _options(arguments)
    parts = [part for part in PARTS if not options.only or part.name in options.only]
    folder = options.to or (_PARTIAL if options.only else glance.RESULTS)
    for parent in (_BUILD, folder.parent):
        parent.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryDirectory(prefix="benchmarks-", dir=_BUILD) as name:
            outcomes = measure(parts, Path(name, "new"))
            _replace(folder, Path(name))
    except KeyboardInterrupt:
        note(f"interrupted: {folder} is as it was")
        return _INTERRUPTED
    for outcome in outcomes:
        for verdict in outcome.missed:
            note(f"MISSED  {outcome.part.name}: {verdict.what}: {verdict.found}, {verdict.wanted}")
    note(f"{report.summary(outcomes)}: {folder / 'README.md'}")
    if folder == glance.RESULTS and not any(outcome.failure for outcome in outcomes):
        glance.rewrite()
    return int(any(outcome.failure or outcome.missed for outcome in outcomes))


def measure(parts: Sequence[Part], folder: Path) -> list[Outcome]:
    """Run the parts, and write all that is to be known into a new folder."""
    folder.mkdir()
    noise = Noise()
    noise.measure()
    outcomes = []
    for number, part in enumerate(parts, 1):
        note(f"[{number}/{len(parts)}] {part.name}: {part.question}")
        outcomes.append(run(part, folder))
        noise.measure()
        note(
            f"[{number}/{len(parts)}] {part.name}: {report.summary(outcomes[-1:])}, {outcomes[-1].seconds:.0f} s"
        )
    charts.draw_all(folder)
    about, noisy = list(facts()), list(noise.figures())
    (folder / "README.md").write_text(report.page(outcomes, about, noisy), encoding="utf-8")
    run_records = [
        *({"case": "machine", "name": name, "value": value, "unit": ""} for name, value in about),
        *({"case": "noise", "name": name, "value": value, "unit": unit} for name, value, unit in noisy),
        *({"case": o.part.name, "name": "wall_seconds", "value": o.seconds, "unit": "s"} for o in outcomes),
        *(
            {"case": o.part.name, "name": "missed", "value": len(o.missed), "unit": "targets"}
            for o in outcomes
        ),
        *(
            {"case": o.part.name, "name": "failed", "value": bool(o.failure), "unit": "parts"}
            for o in outcomes
        ),
    ]
    (folder / "run.json").write_text(json.dumps(run_records, indent=1) + "\n", encoding="utf-8")
    return outcomes


def _replace(folder: Path, beside: Path) -> None:
    if folder.exists():
        shutil.move(folder, beside / "old")
    shutil.move(beside / "new", folder)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [part.name for part in PARTS]
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="NAME", help=f"some of {', '.join(names)}"
    )
    parser.add_argument(
        "--to", type=Path, metavar="FOLDER", help="benchmarks/results, or build/benchmarks with --only"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
