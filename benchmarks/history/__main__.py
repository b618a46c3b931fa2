"""Size of an agent's run in the journal: plain, with the engine's own means, and with coatcheck.

``python -m benchmarks.history [--engine temporal|restate|inngest|dbos] [--help]``. Each engine has its own module, which describes
its figures and parses the other arguments.
"""

import argparse
import sys
from importlib import import_module

MODULES = {engine: f"benchmarks.history.{engine}" for engine in ("temporal", "restate", "inngest", "dbos")}


def main() -> None:
    """Run the engine's module."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--engine", choices=MODULES, default="temporal")
    chosen, others = parser.parse_known_args()
    sys.argv = [f"benchmarks.history --engine {chosen.engine}", *others]
    import_module(MODULES[chosen.engine]).main()


if __name__ == "__main__":
    main()
