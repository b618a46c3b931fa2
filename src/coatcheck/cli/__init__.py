"""The command line. Nothing else of coatcheck imports it."""

import sys

_NEEDS = frozenset({"click", "rich", "typer"})


def main() -> None:
    """Run the ``coatcheck`` command; exits 1 with one line where the ``cli`` extra is not installed."""
    try:
        from coatcheck.cli.app import app  # noqa: PLC0415 - typer is optional, this is where we find out
    except ModuleNotFoundError as error:
        if error.name not in _NEEDS:
            raise
        sys.exit(f"coatcheck: the command line needs {error.name}: pip install 'coatcheck[cli]'")
    app(prog_name="coatcheck")
