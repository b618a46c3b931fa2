"""Fuzz one target or all: ``python -m tests.fuzz.run [TARGET ...] [--runs N] [--seed N]``.

Coverage-guided, by atheris and libFuzzer, from the seeds of :mod:`tests.fuzz.corpus`. The same seed gives the same
inputs. A finding is printed with the bytes that cause it, and makes the exit status 1.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.corpus import seeds
from tests.fuzz.targets import CAP, TARGETS

MAX_MEMORY = 512
"""MiB of the whole process: the interpreter with everything imported takes 150, the corpus some more."""
_LONGEST_INPUT = 4096
_SECONDS_AN_INPUT = 10
assert MAX_MEMORY * 2**20 > CAP


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    target: str
    executions: int
    seconds: float
    memory: int
    """MiB at the peak."""
    finding: str
    """Empty if there is none."""

    def __str__(self) -> str:
        speed = self.executions / self.seconds
        return (
            f"{self.target}: {self.executions:,} executions in {self.seconds:,.1f} s ({speed:,.0f} a second), "
            f"{self.memory} MiB at the peak, {'A FINDING' if self.finding else 'nothing found'}"
        )


def fuzz(target: str, runs: int, seed: int = 1) -> Outcome:
    """Execute ``target`` ``runs`` times in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for number, data in enumerate(seeds(target)):
            (corpus / f"seed-{number}").write_bytes(data)
        flags = {
            "runs": runs,
            "seed": seed,
            "max_len": _LONGEST_INPUT,
            "timeout": _SECONDS_AN_INPUT,
            "rss_limit_mb": MAX_MEMORY,
            "print_final_stats": 1,
            "artifact_prefix": f"{folder}/",
        }
        started = time.perf_counter()
        done = subprocess.run(
            [
                # By a process in between: what its peak of memory is begins with that of the one which starts it.
                *("sh", "-c", '"$@"; exit $?', "sh"),
                *(sys.executable, "-m", "tests.fuzz.fuzzer", target),
                *(f"-{name}={value}" for name, value in flags.items()),
                str(corpus),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        seconds = time.perf_counter() - started
        cause = b"".join(path.read_bytes() for path in Path(folder).iterdir() if path.is_file())
    said = done.stdout + done.stderr
    finished = re.search(r"Done (\d+) runs", said)
    found = re.search(r"peak_rss_mb: +(\d+)", said)
    failed = done.returncode != 0 or not finished
    return Outcome(
        target,
        int(finished[1]) if finished else 0,
        seconds,
        int(found[1]) if found else 0,
        f"{said[-4000:]}\ninput: {cause.hex()}" if failed else "",
    )


def main() -> None:
    """Fuzz what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(TARGETS)}; all by default")
    parser.add_argument("--runs", type=int, default=10_000_000, help="executions of each")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    findings = 0
    for target in options.targets or TARGETS:
        outcome = fuzz(target, options.runs, options.seed)
        sys.stdout.write(f"{outcome}\n{outcome.finding}")
        sys.stdout.flush()
        findings += bool(outcome.finding)
    sys.exit(min(findings, 1))


if __name__ == "__main__":
    main()
