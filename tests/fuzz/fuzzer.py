"""The process that fuzzes, started by :mod:`tests.fuzz.run`: ``python -m tests.fuzz.fuzzer TARGET FLAG... FOLDER``."""

import sys

import atheris
from atheris.import_hook import instrument_imports

with instrument_imports(include=["coatcheck"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz; libFuzzer ends the process."""
    program, target, *flags = sys.argv
    atheris.Setup([program, *flags], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
