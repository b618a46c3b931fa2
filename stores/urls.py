"""Our stores by URL: the functions behind the entry points of the group ``coatcheck.stores``.

Each option of a URL, after its ``?``, is the store's argument of the same name. No error quotes a URL.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from coatcheck.contracts.store import Store
from coatcheck.errors import ConfigError

_Parser = Callable[[str], object]
_ISSUERS = {
    "gs": "ca_bundle",
    "postgres": "sslrootcert",
    "postgresql": "sslrootcert",
    "s3": "ca_bundle",
}
"""The option of a URL that names a file of certificates, by scheme."""
_SSE = ("AES256", "aws:kms", "aws:kms:dsse")


def file(url: str) -> Store:
    """Open ``file:///folder``: a :class:`~coatcheck.FileStore`."""
    from coatcheck.stores.file import FileStore  # noqa: PLC0415 - only what is used is loaded

    parts = _split(url)
    options = read_options(parts.query, {"trust_folder": _yes_or_no})
    folder = unquote(parts.path)
    if parts.netloc not in {"", "localhost"} or folder.strip("/") == "" or "\x00" in folder:
        raise ConfigError(
            "a file URL must have an absolute path on this machine",
            "Write file:///folder, with three slashes.",
        )
    return FileStore(folder, **options)


def s3(url: str) -> Store:
    """Open ``s3://bucket/prefix``: an :class:`~coatcheck.S3Store`."""
    from coatcheck.stores.s3 import S3Store  # noqa: PLC0415 - only what is used is loaded

    return S3Store(**s3_arguments(url))


def gs(url: str) -> Store:
    """Open ``gs://bucket/prefix``: a :class:`~coatcheck.GCSStore`."""
    from coatcheck.stores.gcs import GCSStore  # noqa: PLC0415 - only what is used is loaded

    return GCSStore(**gs_arguments(url))


def postgresql(url: str) -> Store:
    """Open ``postgresql://user@host/database``: a :class:`~coatcheck.PostgresStore`; libpq's options are also accepted."""
    from coatcheck.stores.postgres import PostgresStore  # noqa: PLC0415 - only what is used is loaded

    # Parsed no further than necessary: libpq has its own rules for the part before the options.
    address, _, query = url.partition("?")
    known: dict[str, _Parser] = {"table": str, "prefix": str, "connections": _count, "timeout": _seconds}
    ours = [pair for pair in query.split("&") if pair.partition("=")[0] in known]
    theirs = [pair for pair in query.split("&") if pair and pair not in ours]
    if "@" in query or not url.isprintable():
        raise _malformed()
    taken = _libpq_options()
    for pair in theirs:
        if taken and pair.partition("=")[0] not in taken:
            raise _no_such_option(pair.partition("=")[0], [*known, "and those of libpq"])
    arguments = read_options("&".join(ours), known)
    return PostgresStore("?".join(filter(None, (address, "&".join(theirs)))), **arguments)


def trusting(url: str, ca_bundle: str | None) -> str:
    """Return ``url`` with the file ``ca_bundle`` as the option that names issuers.

    A URL that has this option already comes back as it is, and so does one of a store that has none.
    """
    option = _ISSUERS.get(url.partition(":")[0].lower())
    _, mark, query = url.partition("?")
    if ca_bundle is None or option is None or option in (pair.partition("=")[0] for pair in query.split("&")):
        return url
    return f"{url}{'&' if mark else '?'}{option}={quote(ca_bundle)}"


def s3_arguments(url: str) -> dict[str, Any]:
    """Return the arguments for the :class:`~coatcheck.S3Store` of ``url``.

    Raises:
        ConfigError: The URL is malformed.
    """
    return _bucket_arguments(
        url,
        {
            "endpoint_url": read_endpoint,
            "region": str,
            "path_style": _yes_or_no,
            "sse": _sse,
            "kms_key_id": str,
            "ca_bundle": str,
            "timeout": _seconds,
        },
    )


def gs_arguments(url: str) -> dict[str, Any]:
    """Return the arguments for the :class:`~coatcheck.GCSStore` of ``url``.

    Raises:
        ConfigError: The URL is malformed.
    """
    return _bucket_arguments(
        url,
        {
            "endpoint_url": read_endpoint,
            "project": str,
            "connections": _count,
            "ca_bundle": str,
            "timeout": _seconds,
        },
    )


def _bucket_arguments(url: str, known: Mapping[str, _Parser]) -> dict[str, Any]:
    parts = _split(url)
    if "@" in parts.netloc or ":" in parts.netloc:
        raise ConfigError(
            f"the host part of a {parts.scheme} URL must be a bucket's name only",
            f"Write {parts.scheme}://bucket/prefix. Give credentials as for the cloud's own tools.",
        )
    prefix = unquote(parts.path.removeprefix("/"))
    return {"bucket": parts.netloc, "prefix": prefix, **read_options(parts.query, known)}


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    # urlsplit drops tabs and line ends silently.
    if parts is None or not url.isprintable() or " " in url or "#" in url:
        raise _malformed()
    return parts


def read_options(query: str, known: Mapping[str, _Parser], whose: str = "the store's") -> dict[str, Any]:
    """Return the options of a URL by name.

    Args:
        query: What follows the ``?``.
        known: The options that exist, and what reads the value of each.
        whose: Said of the URL in errors.

    Raises:
        ConfigError: An option is unknown, stands there twice, or has a value that cannot be read.
    """
    # An unescaped question mark in a password makes the rest of the password look like options.
    if "@" in query:
        raise _malformed(whose)
    read: dict[str, Any] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        if name not in known:
            raise _no_such_option(name, list(known), whose)
        if name in read:
            raise ConfigError(f"{whose} URL has the option {name!r} twice", "Keep one of them.")
        try:
            read[name] = known[name](unquote(value))
        except ValueError as error:
            raise ConfigError(f"the option {name!r} of {whose} URL is {error}", "Correct it.") from None
    return read


def _malformed(whose: str = "the store's") -> ConfigError:
    return ConfigError(
        f"{whose} URL is malformed",
        "Escape special characters: a space as %20, # as %23, ? as %3F, @ as %40. Check for line ends.",
    )


def _no_such_option(name: str, known: list[str], whose: str = "the store's") -> ConfigError:
    return ConfigError(
        f"{whose} URL has an unknown option {name[:40]!r}",
        f"Known options: {', '.join(known)}." if known else "This store has no options.",
    )


def read_endpoint(text: str) -> str:
    """Return ``text`` if it is the address of an HTTP service; raise ``ValueError`` if not."""
    try:
        address = urlsplit(text)
    except ValueError:
        address = urlsplit("")
    if address.scheme not in {"http", "https"} or not address.hostname or "@" in address.netloc:
        raise ValueError("not an http or https address such as https://host:443")
    return text


def _yes_or_no(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("neither true nor false")
    return text == "true"


def _sse(text: str) -> str:
    if text not in _SSE:
        raise ValueError(f"not one of {', '.join(_SSE)}")
    return text


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ValueError("not a whole number above 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError("not a number of seconds above 0")
    return seconds


def _libpq_options() -> frozenset[str]:
    """Return the options of this libpq; empty if psycopg is not installed, which the store itself reports."""
    try:
        from psycopg.pq import Conninfo  # noqa: PLC0415 - optional
    except ImportError:
        return frozenset()
    return frozenset(option.keyword.decode() for option in Conninfo.get_defaults()) | {"ssl"}
