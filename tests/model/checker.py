"""Runs the model of the retention protocol through Spin, state by state: ``python -m tests.model.checker`` for all of it.

Every run visits all states that can be reached: no hashing that could take two for one, no bound on the depth.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MODEL: Final = Path(__file__).with_name("retention.pml")
PACKAGES: Final = ("spin", "gcc", "libc6-dev")

SHORTEST: Final = ("VISIBLE=0", "SWEEP=0", "HOLD=0", "SKEW=0")
"""Nothing lasts from one unit of time into the next, but what is known and what stands in the store."""
ALONE: Final = ("ONE_WRITER", "ONE_SWEEP")

SMALL: Final[dict[str, tuple[str, ...]]] = {
    "one writer, one sweep, shortest times": (*ALONE, *SHORTEST),
    "one writer, one sweep, slow writes": (*ALONE, "SKEW=0", "SWEEP=0", "HOLD=0"),
    "one writer, one sweep, a schedule and a forger, shortest times": (
        *ALONE,
        "SCHEDULES",
        "FORGER",
        *SHORTEST,
    ),
    "the scope of a tenant": (*ALONE, "TENANT_SCOPE", *SHORTEST),
}
"""Seconds each."""
LARGE: Final[dict[str, tuple[str, ...]]] = {
    "one writer, one sweep, all times and clocks that differ": ALONE,
    "one writer, two sweeps, shortest times": ("ONE_WRITER", *SHORTEST),
    "two writers, one sweep, shortest times": ("ONE_SWEEP", *SHORTEST),
    "one writer, one sweep, a schedule and a forger, slow writes": (
        *ALONE,
        "SCHEDULES",
        "FORGER",
        "SKEW=0",
        "SWEEP=0",
        "HOLD=0",
    ),
    "one writer, two sweeps, a forger, shortest times": ("ONE_WRITER", "FORGER", *SHORTEST),
    "two writers, one sweep, a forger, shortest times": ("ONE_SWEEP", "FORGER", *SHORTEST),
    "two writers, two sweeps, nothing is trusted for longer than a moment": (
        "TRUST=0",
        "CLAIMS=2",
        *SHORTEST,
    ),
}
"""Minutes each, and up to 3 GB of memory."""

_TWO_SWEEPS: Final = ("ONE_WRITER", *SHORTEST)
BROKEN: Final[dict[str, tuple[str, ...]]] = {
    "WRITER_DOES_NOT_LOOK": (*ALONE, *SHORTEST),
    "WRITER_LOOKS_FOR_NO_CLAIM": (*ALONE, *SHORTEST),
    "NO_ALIVE": (*ALONE, *SHORTEST),
    "READS_BEFORE_IT_LOOKS": (*ALONE, *SHORTEST),
    "FOUND_BEFORE_IT_LOOKED": (*ALONE, *SHORTEST),
    "TRUSTS_LONGER_THAN_THE_GRACE": (*ALONE, *SHORTEST),
    "TRUSTS_FROM_THE_END_OF_ITS_LOOK": (*ALONE, "SKEW=0", "SWEEP=0", "HOLD=0"),
    "DOES_NOT_ASK_AGAIN": (*ALONE, *SHORTEST),
    "NO_LAST_LOOK": (*ALONE, *SHORTEST),
    "DELETES_WITHOUT_A_CLAIM": (*ALONE, *SHORTEST),
    "DELETES_WHAT_IS_NEWER": (*ALONE, *SHORTEST),
    "DOES_NOT_SAY_THAT_IT_DELETES": (*ALONE, *SHORTEST),
    "FORGETS_SCHEDULES": (*ALONE, "SCHEDULES", *SHORTEST),
    "SWEEPS_THE_TENANT_SCOPE": (*ALONE, "TENANT_SCOPE", *SHORTEST),
    "BELIEVES_WHAT_NO_SWEEP_MADE": (*ALONE, "FORGER", *SHORTEST),
    "BELIEVES_WHAT_WAS_PUT_BACK": (*ALONE, "FORGER", *SHORTEST),
    "TAKES_A_PLANTED_MARK_FOR_NONE": (*ALONE, "FORGER", *SHORTEST),
}
"""Rules that can be taken out (``BREAK_`` before each), and in which world it shows. Seconds each."""
BROKEN_FOR_TWO: Final[dict[str, tuple[str, ...]]] = {
    "REMOVES_THE_MARK_FIRST": ("ONE_SWEEP", *SHORTEST),
    "TAKES_OVER_EARLY": _TWO_SWEEPS,
    "SPARING_REMOVES_THE_TOMBSTONE": _TWO_SWEEPS,
}
"""As :data:`BROKEN`, with two writers or two sweeps; half a minute each."""

_MEGABYTES: Final = 8000
_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of the checker came to."""

    violated: str | None
    """The assertion that fails somewhere; None if none does."""
    states: int
    depth: int
    seconds: float
    megabytes: float


class CheckerError(Exception):
    """The checker did not come to an end."""


def missing() -> str | None:
    """What is not installed of what :func:`check` needs; None if all is there."""
    return next((program for program in ("spin", "gcc") if shutil.which(program) is None), None)


def check(*defines: str, long: bool = False) -> Outcome:
    """Visit every state of the model, until an assertion fails.

    Args:
        defines: Macros of the model, such as ``SKEW=0``.
        long: The search takes longer than to compile it well.

    Raises:
        CheckerError: Spin or the compiler failed, or memory, depth or time did not suffice.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(MODEL, folder)
        _run(folder, "spin", *(f"-D{define}" for define in defines), "-a", MODEL.name)
        _run(
            folder,
            "gcc",
            "-O2" if long else "-O0",
            "-w",
            "-DSAFETY",
            "-DNOCOMP",
            f"-DMEMLIM={_MEGABYTES}",
            "-o",
            "pan",
            "pan.c",
        )
        # Everybody may wait for ever: no end state is wrong by itself.
        said = _run(folder, "./pan", "-E", "-n", "-w24", "-m5000000")
    if "Search not completed" in said and "errors: 1" not in said:
        raise CheckerError(f"the search ended early:\n{said}")
    if "max search depth too small" in said:
        raise CheckerError("the search was not deep enough")
    violated = re.search(r"assertion violated (.*) \(at depth", said)
    return Outcome(
        violated[1] if violated else None,
        int(_figure(r"([\d.e+]+) states, stored", said)),
        int(_figure(r"depth reached (\d+)", said)),
        _figure(r"elapsed time ([\d.e+-]+) seconds", said),
        _figure(r"([\d.]+)\s+(?:total actual )?memory usage", said),
    )


def _figure(pattern: str, said: str) -> float:
    found = re.search(pattern, said)
    if found is None:
        raise CheckerError(f"the checker does not say {pattern!r}:\n{said}")
    return float(found[1])


def _run(folder: str, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=_SECONDS)
    if done.returncode:
        raise CheckerError(
            f"{command[0]} ends with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.stdout


def main() -> None:
    """Check all worlds, print what each came to, and fail if one is not as it should be."""
    faithful = {name: (defines, False) for name, defines in (SMALL | LARGE).items()}
    broken = {
        name: ((f"BREAK_{name}", *defines), True) for name, defines in (BROKEN | BROKEN_FOR_TWO).items()
    }
    wrong = False
    for name, (defines, fails) in (faithful | broken).items():
        outcome = check(*defines, long=name in LARGE or name in BROKEN_FOR_TWO)
        wrong |= (outcome.violated is not None) != fails
        sys.stdout.write(
            f"{'loses' if outcome.violated else 'holds'}: {name}: {outcome.states:,} states, depth {outcome.depth:,}, "
            f"{outcome.seconds:.1f} s, {outcome.megabytes:,.0f} MB\n"
        )
        sys.stdout.flush()
    if wrong:
        sys.exit("The model is not as it should be.")


if __name__ == "__main__":
    main()
