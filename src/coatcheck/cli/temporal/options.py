"""Options of the commands that look at a Temporal server."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated

import typer

from coatcheck.errors import ConfigError

Address = Annotated[
    str | None,
    typer.Option(
        help="Of the Temporal server. TLS, API key and profile are those of the `temporal` command: TEMPORAL_* "
        "variables and temporal.toml.",
        show_default="TEMPORAL_ADDRESS, or localhost:7233",
    ),
]
Namespace = Annotated[
    str | None, typer.Option(help="Of the workflow.", show_default="TEMPORAL_NAMESPACE, or default")
]
RunId = Annotated[str | None, typer.Option(help="Which run of the workflow.", show_default="the latest")]


@dataclass(frozen=True, slots=True)
class Server:
    """The server, as far as the command line names it."""

    address: str | None
    """Host and port; None takes what the ``temporal`` command would take."""
    namespace: str | None
    """The same."""


def check_installed() -> None:
    """Say early that Temporal's SDK is missing.

    Raises:
        ConfigError: It is.
    """
    if find_spec("temporalio") is None:
        raise ConfigError("temporalio is not installed", "pip install 'coatcheck[temporal]'")
