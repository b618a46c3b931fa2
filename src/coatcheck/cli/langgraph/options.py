"""Options and checks common to the commands on databases of LangGraph's savers."""

from importlib.util import find_spec
from typing import Annotated

import typer

from coatcheck.errors import ConfigError

Url = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="Database of the saver: sqlite:///FILE (four slashes for an absolute path) or postgresql://USER@HOST/DATABASE. "
        "PGPASSWORD and ~/.pgpass are used for a password that is not in it.",
        show_default=False,
    ),
]


def check_installed() -> None:
    """Check that LangGraph's package is installed.

    Raises:
        ConfigError: It is not.
    """
    if find_spec("langgraph") is None or find_spec("langgraph.checkpoint") is None:
        raise ConfigError("langgraph-checkpoint is not installed", "Run: pip install 'coatcheck[langgraph]'")
