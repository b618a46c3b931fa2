"""The ``coatcheck keys`` commands, and ``coatcheck rekey``."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.contracts.keys import Key
from coatcheck.errors import ConfigError
from coatcheck.keys.keyring import Keyring

if TYPE_CHECKING:
    from coatcheck.keys.tenant_keys import TenantKeys
    from coatcheck.settings.model import Settings

_T = TypeVar("_T")

_LINE = 80
_TITLES: dict[str, object] = {
    "tenant_tag": "tenant",
    "number": "no.",
    "key_id": "key",
    "primary": "role",
    "created_at": "made at (UTC)",
}
_WIDTHS = {"tenant_tag": 32, "number": 3, "key_id": 8, "primary": 12, "created_at": 16}

keys = typer.Typer(no_args_is_help=True, help="Make, list and rotate keys, and destroy a tenant's keys.")


@keys.command()
def new() -> None:
    """Print a new random key.

    Put it first in COATCHECK_KEYS or in the file of keys: the first key is the primary. Keep older keys behind it for as
    long as anything encrypted under them may be read.
    """
    typer.echo(Key.generate().to_text())


@keys.command("list")
def list_(
    tenant: Annotated[str | None, typer.Option(help="Tenant.", show_default="all tenants")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print all keys, and which one is the primary. Never a secret.

    Tenants appear by their tags in the store. --json has the full names of KMS keys.
    """
    with told_in_one_line("keys list"):
        settings = _settings()
        source = settings.keys()
        if isinstance(source, Keyring):
            place = settings.keyring.file or "COATCHECK_KEYS"
            found: list[dict[str, object]] = [
                {"key_id": key_id.hex(), "primary": key_id == source.primary.id, "source": place}
                for key_id in source.ids
            ]
        else:
            infos = _with_tenant_keys(settings, "", lambda held: held.list(tenant))
            if not infos:
                raise _nobody(tenant)
            found = [{**asdict(info), "created_at": info.created_at.isoformat()} for info in infos]
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    _print(found)


@keys.command()
def rotate(
    tenant: Annotated[
        str | None, typer.Argument(help="Tenant; only if a KMS wraps the keys.", show_default=False)
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="The keys of every tenant.")] = False,
    first: Annotated[
        bool, typer.Option("--new", help="Also make a first key if the tenant has none.")
    ] = False,
) -> None:
    """Make a new key the primary. Older keys still decrypt.

    In a file of keys, the new key becomes the first. Give the file to every process before it is used.
    """
    with told_in_one_line("keys rotate"):
        settings = _settings()
        if first and tenant is None:
            raise ConfigError("--new is for one tenant", "Name it.")
        if settings.keyring.file is not None:
            if tenant is not None or every:
                raise ConfigError("a file of keys has one primary for all tenants", "Name no tenant.")
            from coatcheck.cli.keys.key_file import rotate_file  # noqa: PLC0415 - POSIX only

            rotated = [rotate_file(Path(settings.keyring.file).expanduser()).id.hex()]
        elif settings.keyring.kms is None:
            raise ConfigError(
                "the keys are in the environment variable COATCHECK_KEYS, which no command can change",
                "Make a key with `coatcheck keys new`, put it first there, and keep the others after it.",
            )
        elif (tenant is None) is not every:
            raise ConfigError("one tenant or --all is required", "Name a tenant, or use --all.")
        elif tenant is not None:
            rotated = [_with_tenant_keys(settings, "", lambda held: held.rotate(tenant, new=first)).key_id]
        else:
            infos = _with_tenant_keys(settings, "", lambda held: held.rotate_all())
            if not infos:
                raise _nobody(None)
            rotated = [info.key_id for info in infos]
    for key_id in rotated:
        typer.echo(f"the primary is now {key_id}")


@keys.command()
def shred(
    tenant: Annotated[str, typer.Argument(help="Tenant.", show_default=False)],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Destroy all keys of a tenant. Its payloads can never be read again; other tenants' can."""
    with told_in_one_line("keys shred"):
        settings = _settings()
        why = "shredding one tenant's would shred all"
        if not _with_tenant_keys(settings, why, lambda held: held.list(tenant)):
            raise ConfigError(f"the tenant {tenant!r} has no keys", "Check its name. Nothing was destroyed.")
    if not yes:
        typer.confirm(
            f"Destroy the keys of {tenant!r} and with them all of its payloads, permanently?", abort=True
        )
    with told_in_one_line("keys shred"):
        destroyed = _with_tenant_keys(settings, why, lambda held: held.shred(tenant))
    typer.echo(f"destroyed {len(destroyed)}: {', '.join(destroyed)}")
    typer.echo(
        f"Processes that cached them drop them within {settings.keyring.max_age:g} s. Versions and backups of the store "
        "still contain the wrapped keys: remove them too."
    )


@keys.callback()
def _group() -> None:
    """Make, list and rotate keys, and destroy a tenant's keys."""


def rekey() -> None:
    """Wrap all tenants' keys again, with the KMS key that the settings name first.

    Payloads, references and journals do not change.
    """
    with told_in_one_line("rekey"):
        settings = _settings()
        count = _with_tenant_keys(settings, "there is nothing to wrap", lambda held: held.rekey())
        if not count:
            raise _nobody(None)
    typer.echo(f"wrapped {count} keys with {settings.keyring.kms}")


def _settings() -> "Settings":
    from coatcheck.settings.model import Settings  # noqa: PLC0415 - slow to load, and `keys new` needs none of it

    return Settings.load()


def _with_tenant_keys(
    settings: "Settings", why_not: str, work: "Callable[[TenantKeys], Awaitable[_T]]"
) -> _T:
    """Return the result of ``work`` on the keys of the settings; close them afterwards."""
    from coatcheck.keys.tenant_keys import TenantKeys  # noqa: PLC0415 - slow to load

    source = settings.keys()
    if not isinstance(source, TenantKeys):
        _refuse(why_not)

    async def worked() -> _T:
        try:
            return await work(source)
        finally:
            await source.close()

    return asyncio.run(worked())


def _refuse(why: str) -> NoReturn:
    raise ConfigError(
        f"the settings have the same keys for all tenants: {why}",
        "Only keys wrapped by a KMS belong to one tenant: set keyring.kms, see docs/keys.md.",
    )


def _nobody(tenant: str | None) -> ConfigError:
    who = "no tenant has a key" if tenant is None else f"the tenant {tenant!r} has no keys"
    return ConfigError(
        f"{who} in the store of the settings",
        f"Check {'' if tenant is None else 'the name, '}offload.store and keyring.store: `coatcheck config show`.",
    )


def _print(found: list[dict[str, object]]) -> None:
    """Print a table below the name of each place that keys come from."""
    from coatcheck.cli.doctor.words import printable  # noqa: PLC0415 - slow to load

    places: dict[str, list[dict[str, object]]] = {}
    for key in found:
        places.setdefault(str(key["source" if "source" in key else "service"]), []).append(key)
    for number, (place, keys) in enumerate(places.items()):
        typer.echo(("\n" if number else "") + printable(place, _LINE))
        for row in [_TITLES, *map(_in_words, keys)]:
            columns = [f"{row[name]!s:{width}}" for name, width in _WIDTHS.items() if name in keys[0]]
            typer.echo("  ".join(columns).rstrip())


def _in_words(key: dict[str, object]) -> dict[str, object]:
    made = str(key.get("created_at")).replace("T", " ")[: _WIDTHS["created_at"]]
    return {**key, "primary": "primary" if key["primary"] else "decrypt-only", "created_at": made}
