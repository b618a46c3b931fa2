"""``coatcheck serve``: the codec server, on the chain that the settings describe."""

import logging
from typing import Annotated

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.errors import ConfigError

_NEEDS = frozenset({"google", "jwt", "prometheus_client", "starlette", "temporalio", "uvicorn"})


def serve(
    host: Annotated[str | None, typer.Option(help="Where to listen.", show_default="the settings'")] = None,
    port: Annotated[
        int | None, typer.Option(help="0 takes a free one.", show_default="the settings'")
    ] = None,
    *,
    insecure_no_auth: Annotated[
        bool,
        typer.Option(
            "--insecure-no-auth",
            help="Listen beyond this machine although no tokens are asked for: everybody reads everything.",
        ),
    ] = False,
) -> None:
    """Show payloads to Temporal's web UI and command line, until it is told to stop.

    The settings are those of the chain, and the section [serve] beside them.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("coatcheck.server").setLevel(logging.INFO)
    try:
        with told_in_one_line("serve"):
            _serve({"host": host, "port": port}, insecure=insecure_no_auth)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in _NEEDS:
            raise
        typer.echo(
            f"coatcheck serve: {error.name} is not installed: pip install 'coatcheck[serve]'", err=True
        )
        raise typer.Exit(1) from None


def _serve(options: dict[str, str | int | None], *, insecure: bool) -> None:
    # Slow to load, and other commands need none of it.
    from pydantic import ValidationError  # noqa: PLC0415

    from coatcheck.server.app import create_app  # noqa: PLC0415
    from coatcheck.server.listening import bind, listen  # noqa: PLC0415
    from coatcheck.server.settings import ServeSettings  # noqa: PLC0415
    from coatcheck.settings import Settings  # noqa: PLC0415

    settings = Settings.load()
    given = {name: value for name, value in options.items() if value is not None}
    try:
        serving = ServeSettings.model_validate({**settings.serve.model_dump(), **given})
    except ValidationError:
        raise ConfigError("--host or --port is no address", "A port is 0 to 65535.") from None
    app = create_app(settings.chain(), serving)
    listener = bind(serving, insecure=insecure)
    listen(app, listener, lambda url: typer.echo(f"coatcheck serve: listening on {url}"))
