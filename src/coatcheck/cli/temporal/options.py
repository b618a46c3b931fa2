"""Options of the commands that look at a Temporal server."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated

import typer

from coatcheck.errors import ConfigError

Address = Annotated[
    str | None,
    typer.Option(
        help="Address of the Temporal server. TLS, API key and profile are those of the `temporal` command: TEMPORAL_* "
        "variables and temporal.toml.",
        show_default="TEMPORAL_ADDRESS, or localhost:7233",
    ),
]
Namespace = Annotated[
    str | None, typer.Option(help="Namespace of the workflow.", show_default="TEMPORAL_NAMESPACE, or default")
]
RunId = Annotated[str | None, typer.Option(help="Run of the workflow.", show_default="the latest")]


@dataclass(frozen=True, slots=True)
class Server:
    """The Temporal server named on the command line."""

    address: str | None
    """Host and port; None takes what the ``temporal`` command would take."""
    namespace: str | None
    """Namespace; None as above."""


def check_installed() -> None:
    """Check early that Temporal's SDK is installed.

    Raises:
        ConfigError: It is missing.
    """
    if find_spec("temporalio") is None:
        raise ConfigError("temporalio is not installed", "pip install 'coatcheck[temporal]'")
