"""Mutation testing of envelope, sealing and reference: ``python -m tests.security.mutation``.

cosmic-ray changes one thing at a time in a copy of the tree, and the tests of the wire format have to notice. Prints the
mutants that survive, and how many were killed. ``docs/verification.md`` says why the survivors do.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_COPIED = ("src", "codecs", "stores", "integrations", "tests", "pyproject.toml")


def main() -> None:
    """Run."""
    with tempfile.TemporaryDirectory() as folder:
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, Path(folder, name), symlinks=True)
            else:
                shutil.copy2(source, Path(folder, name))
        done = subprocess.run(
            [sys.executable, "-m", "tests.security.mutants"],
            cwd=folder,
            check=False,
            # Hypothesis: the same examples for each mutant, and none fails for being slow.
            env={**os.environ, "PYTHONPATH": "src", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "CI": "true"},
        )
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
