"""``coatcheck serve``: the codec server, on the chain that the settings describe."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.errors import ConfigError

if TYPE_CHECKING:
    from coatcheck.chain import Chain
    from coatcheck.settings.serve import ServeSettings

_NEEDS = frozenset({"google", "jwt", "prometheus_client", "starlette", "temporalio", "uvicorn"})


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="the settings'")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 picks a free one.", show_default="the settings'")
    ] = None,
    *,
    insecure_no_auth: Annotated[
        bool,
        typer.Option(
            "--insecure-no-auth",
            help="Listen beyond this machine although no tokens are required: everyone can read everything.",
        ),
    ] = False,
) -> None:
    """Show payloads to Temporal's web UI and command line, until stopped.

    Uses the settings of the chain, and the section [serve].
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
    from coatcheck.settings.model import Settings  # noqa: PLC0415
    from coatcheck.settings.serve import ServeSettings  # noqa: PLC0415

    settings = Settings.load()
    given = {name: value for name, value in options.items() if value is not None}
    try:
        serving = ServeSettings.model_validate({**settings.serve.model_dump(), **given})
    except ValidationError:
        raise ConfigError("--host or --port is not valid", "A port is 0 to 65535.") from None
    chain = settings.chain()
    nexus = settings.nexus_namespaces
    app = create_app(chain, serving, nexus_namespaces=nexus)
    listener = bind(serving, insecure=insecure)

    def started(url: str) -> None:
        for line in _summary(chain, serving, url, nexus):
            typer.echo(f"coatcheck serve: {line}")
        typer.echo(f"coatcheck serve: listening on {url}")

    listen(app, serving, listener, started)


def _summary(chain: "Chain", serving: "ServeSettings", url: str, nexus: Sequence[str]) -> list[str]:
    """Return lines about the store, the keys and the callers."""
    from coatcheck.codecs.aead import Encrypt  # noqa: PLC0415 - slow to load

    stores = [f"{store.alias} = {store.client.store!r}" for store in chain.stores]
    keys = [repr(sealing) for sealing in chain.sealings if isinstance(sealing, Encrypt)]
    return [
        f"stores: {', '.join(stores)}",
        f"keys: {', '.join(keys) or 'none: encrypted payloads cannot be opened'}",
        f"origins: {', '.join(serving.origins) or 'none: no page may send requests'}",
        f"who may ask: {_callers(serving, url)}",
        *(
            [f"nexus: also payloads of {', '.join(nexus)}, for callers who may read there, too"]
            if nexus
            else []
        ),
        f"encode: {'on' if serving.encode else 'off'}",
    ]


def _callers(serving: "ServeSettings", url: str) -> str:
    from coatcheck.settings.serve import is_loopback  # noqa: PLC0415 - slow to load

    if serving.jwt is not None:
        return f"tokens of {serving.jwt.issuer} for {serving.jwt.audience}, by their {serving.jwt.permissions_claim}"
    who = (
        "every program on this machine"
        if is_loopback(urlsplit(url).hostname or "")
        else "everybody who can reach it"
    )
    return f"{who}, without a token, about every namespace"
