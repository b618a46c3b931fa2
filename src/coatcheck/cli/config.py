"""The ``coatcheck config`` commands."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.errors import ConfigError

if TYPE_CHECKING:
    from coatcheck.settings.model import Settings

config = typer.Typer(no_args_is_help=True, help="Show the settings.")


@config.callback()
def _group() -> None:
    """Show the settings."""


@config.command()
def show(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False
) -> None:
    """Print the file that is read, every setting with its source, and the ids of the keys. Never a secret.

    Does not connect to anything. Invalid settings are an error, as everywhere.
    """
    with told_in_one_line("config show"):
        from coatcheck.settings.model import Settings, sources  # noqa: PLC0415 - slow to load

        settings = Settings.load()
        file, of_file, of_variables = sources()
        found = [
            {
                "setting": ".".join(place),
                "value": _shown(place, value),
                "from": _origin(place, str(file), of_file, of_variables),
            }
            for place, value in _leaves(settings)
        ]
        keys = _keys(settings)
    if as_json:
        typer.echo(json.dumps({"file": file and str(file), "settings": found, "keys": keys}, indent=1))
        return
    typer.echo(f"file  {file or 'none: there is no ./coatcheck.toml, and COATCHECK_CONFIG is not set'}")
    typer.echo(f"keys  {keys}")
    width = max(len(row["setting"]) for row in found)
    for row in found:
        typer.echo(f"{row['setting']:{width}}  {row['value']}  ({row['from']})")


def _leaves(settings: "Settings") -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield every setting that is not a section, in order."""
    from pydantic import BaseModel  # noqa: PLC0415 - slow to load

    def within(model: BaseModel, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
        for name in type(model).model_fields:
            value = getattr(model, name)
            if isinstance(value, BaseModel):
                yield from within(value, (*place, name))
            elif name == "rules" and value:
                yield from (((*place, name), item.rule()) for item in value)
            elif isinstance(value, dict):
                yield from (((*place, name, str(key)), item) for key, item in value.items())
            else:
                yield (*place, name), value

    return within(settings, ())


def _shown(place: tuple[str, ...], value: object) -> str:
    """Return the value in one line, without secrets."""
    from pydantic import SecretStr  # noqa: PLC0415 - slow to load

    match value:
        case SecretStr():
            return _store(value.get_secret_value())
        case list():
            return ", ".join(_shown(place, item) for item in value) or "none"
        case dict():
            # The options of a codec, which may be anybody's: texts are not shown.
            return ", ".join(f"{name} = {_option(item)}" for name, item in value.items()) or "none"
        case None | bool():
            return {None: "none", True: "true", False: "false"}[value]
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _store(url: str) -> str:
    """Return the store's description of itself, which is never its URL."""
    from coatcheck.settings.registry import open_store  # noqa: PLC0415 - slow to load

    try:
        return repr(open_store(url))
    except ConfigError as error:
        return f"cannot be made: {error.what}"


def _option(value: object) -> str:
    return str(value) if isinstance(value, int | float) else "(not shown)"


def _origin(place: tuple[str, ...], file: str, of_file: Any, of_variables: Any) -> str:
    for where, values in (("variable", of_variables), (file, of_file)):
        inner = values
        for name in place:
            inner = inner.get(name) if isinstance(inner, Mapping) else None
        if inner is not None:
            return where
    return "default"


def _keys(settings: "Settings") -> str:
    from coatcheck.keys.keyring import Keyring  # noqa: PLC0415 - slow to load

    if not settings.encrypt:
        return "none: encrypt is false, and payloads are readable"
    try:
        source = settings.keys()
    except ConfigError as error:
        return f"none usable: {error.what}"
    if not isinstance(source, Keyring):
        return "each tenant's own, wrapped by a KMS: `coatcheck keys list` shows them"
    primary, *others = (key_id.hex() for key_id in source.ids)
    return ", ".join([f"{primary} (primary)", *others])
