"""The ``coatcheck init`` command."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qsl, urlsplit

import typer

from coatcheck.cli.failures import told_in_one_line
from coatcheck.cli.output import check_output, write_output
from coatcheck.errors import ConfigError

if TYPE_CHECKING:
    from coatcheck.settings.model import Settings

_PASSWORDS = frozenset({"password", "sslpassword"})
"""Options of libpq."""

TEMPLATE = """\
# The settings of coatcheck. Lines that begin with # are examples, mostly with the defaults.
# Variables override this file: COATCHECK_ENCRYPT, COATCHECK_OFFLOAD__OVER, ... `coatcheck config show` shows both.
# No key and no password belongs in this file.

encrypt = true                # with the keys in the variable COATCHECK_KEYS, or those of [keyring]
# accept_plain = true         # accept payloads in the clear; false once every writer has the chain
# accept_unsealed = false     # also read what was written before encryption was introduced
# decode_only = false         # encode nothing, decode everything: for roll-out and roll-back
# codecs = ["zstd"]           # applied in this order
# max_payload = 268435456     # bytes
# nexus_namespaces = []       # Temporal: namespaces at the other end of Nexus operations
# ca_bundle = "/etc/ssl/ours.pem"    # issuers (PEM) to trust for stores and KMSs, in place of the system's

# [codec.zstd]                # the options of a codec in the list above
# level = 3

[offload]
# s3://bucket/prefix, gs://bucket/prefix, postgresql://user@host/database, or file:///folder for one machine
{store}
# over = 2048                 # bytes after the codecs; larger payloads go to the store
# deadline = 8.0              # seconds for one call to a store, with all its attempts
# alias = "default"           # the store's name in references: keep it as long as any reference is alive
# replicas = []               # URLs of other stores to read from if the store is down or lacks an object
# patience = 2.0              # seconds of silence after which a replica is asked
# cache = "/var/cache/app"    # a folder for copies of objects read, sealed as in the store
# cache_bytes = 1073741824    # most bytes in that folder

# [offload.read_also]         # other stores, by their aliases: read, and written only by rules
# old = "s3://old-bucket/prefix"

# [[rules]]                   # by the name of a payload, the first that fits counts
# name = "activity:render*"
# over = 65536                # in place of that of [offload]; or inline = true: never to a store
# store = "old"               # an alias of [offload]

# [serve]                     # the codec server, `coatcheck serve`
# origins = ["http://localhost:8233"]    # origins of pages that may send requests

# [keyring]                   # in place of COATCHECK_KEYS: a file of mode 600 ...
# file = "/etc/coatcheck/keys"

# [keyring]                   # ... or a KMS, which gives each tenant keys of its own
# kms = "arn:aws:kms:eu-central-1:123456789012:key/..."    # or projects/.../cryptoKeys/..., or vault://...
# label = "prod"              # name of this store, unique among the stores whose keys the KMS wraps
"""
"""Text of the file; ``{store}`` is the line for the store."""


def init(
    *,
    store: Annotated[
        str,
        typer.Option(
            help="URL, such as s3://bucket/prefix, without a password.",
            show_default="a folder of this machine",
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Write coatcheck.toml, with every setting explained and encryption on, and say what to do next.

    Writes the file that COATCHECK_CONFIG names, else ./coatcheck.toml; never overwrites one. Makes no key, and does not
    connect to anything.
    """
    with told_in_one_line("init"):
        file, settings = _written(store)
        steps = _next(settings)
    kept = repr(settings.offload.open(settings.ca_bundle))
    if as_json:
        facts = {"file": str(file), "store": kept, "encrypt": settings.encrypt, "next": list(steps)}
        typer.echo(json.dumps(facts, indent=1))
        return
    sealed = "encrypted" if settings.encrypt else "readable, since COATCHECK_ENCRYPT is false"
    typer.echo(f"wrote {file}")
    typer.echo(f"payloads above {settings.offload.over:,} bytes go to {kept}, {sealed}")
    typer.echo("next:")
    for command, why in steps.items():
        typer.echo(f"  {command:<43} # {why}")
    typer.echo("in code: Chain.from_settings()")


def _written(store: str) -> "tuple[Path, Settings]":
    """Write the file and read it as everything else will; remove it again if it cannot be used."""
    from coatcheck.settings.model import Settings, place_of_file  # noqa: PLC0415 - slow to load

    if store and _has_password(store):
        raise ConfigError(
            "the store's URL contains a password, which would be written to the file",
            "Leave it out: keep it in PGPASSFILE, or set the whole URL as COATCHECK_OFFLOAD__STORE instead of --store.",
        )
    line = f"store = {json.dumps(store, ensure_ascii=False)}"
    text = TEMPLATE.format(store=line if store else '# store = "s3://bucket/prefix"')
    file = place_of_file()
    check_output(file, force=True)
    try:
        write_output(file, text.encode(), force=False)
    except FileExistsError:
        raise ConfigError(
            f"{file} already exists and was not changed", "`coatcheck config show` shows its settings."
        ) from None
    try:
        return file, _checked(Settings.load(), store)
    except BaseException:
        file.unlink()
        raise


def _checked(settings: "Settings", store: str) -> "Settings":
    if store and settings.offload.store.get_secret_value() != store:
        raise ConfigError(
            "COATCHECK_OFFLOAD__STORE names another store, and overrides --store",
            "Unset it, or omit --store.",
        )
    settings.offload.open(settings.ca_bundle)
    return settings


def _next(settings: "Settings") -> dict[str, str]:
    """Return the commands to run next, each with its purpose."""
    steps = {}
    try:
        if settings.encrypt:
            settings.keys()
    except ConfigError:
        steps["export COATCHECK_KEYS=$(coatcheck keys new)"] = "a key: keep it secret, and never lose it"
    if settings.store_url().startswith("postgres"):
        steps["coatcheck store init"] = "create the table"
    steps["coatcheck store check"] = "test the store"
    steps["coatcheck config show"] = "see all settings and their sources"
    return steps


def _has_password(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.password) or not _PASSWORDS.isdisjoint(dict(parse_qsl(parts.query)))
    except ValueError:
        return False
