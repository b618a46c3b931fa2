"""What does an agent's run leave in the journal, plain, with what the engine itself offers, and with coatcheck?

``python -m benchmarks.history [--engine temporal|restate|inngest] [--help]``. Each engine has a module of its own, which
says what it measures and takes the other arguments.
"""

import argparse
import sys
from importlib import import_module

MODULES = {engine: f"benchmarks.history_{engine}" for engine in ("temporal", "restate", "inngest")}


def main() -> None:
    """Hand over to the engine's module."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--engine", choices=MODULES, default="temporal")
    chosen, others = parser.parse_known_args()
    sys.argv = [f"benchmarks.history --engine {chosen.engine}", *others]
    import_module(MODULES[chosen.engine]).main()


if __name__ == "__main__":
    main()
