"""All benchmarks in one run: ``python -m benchmarks [--only NAME ...] [--to FOLDER]``, or ``make bench``.

The parts run one after the other, each in its own process. At the end, figures (JSON), charts (PNG) and a page (README.md)
replace the content of the folder, and the README's table is updated. If interrupted, everything stays unchanged. Exits 0
if every target was met, 1 if one was missed or a part failed, 130 if interrupted.
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
from benchmarks.harness import glance, page
from benchmarks.harness.machine import Noise, facts
from benchmarks.harness.records import note
from benchmarks.harness.suite import PARTS, Part, PartResult, run

_BUILD = Path(__file__).parents[1] / "build"
_PARTIAL = _BUILD / "benchmarks"
_INTERRUPTED = 128 + signal.SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _options(arguments)
    parts = [part for part in PARTS if not options.only or part.name in options.only]
    folder = options.to or (_PARTIAL if options.only else glance.RESULTS)
    for parent in (_BUILD, folder.parent):
        parent.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryDirectory(prefix="benchmarks-", dir=_BUILD) as name:
            results = measure(parts, Path(name, "new"))
            _replace(folder, Path(name))
    except KeyboardInterrupt:
        note(f"interrupted: {folder} is unchanged")
        return _INTERRUPTED
    for result in results:
        for verdict in result.missed:
            note(f"MISSED  {result.part.name}: {verdict.what}: {verdict.found}, {verdict.wanted}")
    note(f"{page.summary(results)}: {folder / 'README.md'}")
    if folder == glance.RESULTS and not any(result.failure for result in results):
        glance.rewrite()
    return int(any(result.failure or result.missed for result in results))


def measure(parts: Sequence[Part], folder: Path) -> list[PartResult]:
    """Run the parts, and write all results into a new folder."""
    folder.mkdir()
    noise = Noise()
    noise.measure()
    results = []
    for number, part in enumerate(parts, 1):
        note(f"[{number}/{len(parts)}] {part.name}: {part.question}")
        results.append(run(part, folder))
        noise.measure()
        note(
            f"[{number}/{len(parts)}] {part.name}: {page.summary(results[-1:])}, {results[-1].seconds:.0f} s"
        )
    charts.draw_all(folder)
    about, noisy = list(facts()), list(noise.figures())
    (folder / "README.md").write_text(page.markdown(results, about, noisy), encoding="utf-8")
    run_records = [
        *({"case": "machine", "name": name, "value": value, "unit": ""} for name, value in about),
        *({"case": "noise", "name": name, "value": value, "unit": unit} for name, value, unit in noisy),
        *({"case": o.part.name, "name": "wall_seconds", "value": o.seconds, "unit": "s"} for o in results),
        *(
            {"case": o.part.name, "name": "missed", "value": len(o.missed), "unit": "targets"}
            for o in results
        ),
        *(
            {"case": o.part.name, "name": "failed", "value": bool(o.failure), "unit": "parts"}
            for o in results
        ),
    ]
    (folder / "run.json").write_text(json.dumps(run_records, indent=1) + "\n", encoding="utf-8")
    return results


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
