"""The endpoint of Google Cloud Storage."""

import os
from typing import Final
from urllib.parse import urlsplit

from coatcheck.errors import ConfigError

_GOOGLE: Final = "https://storage.googleapis.com"
_EMULATOR: Final = "STORAGE_EMULATOR_HOST"


def endpoint_of(given: str | None) -> str:
    """Return the service's base address: the one given, or else that of an emulator in the environment, or Google's.

    Raises:
        ConfigError: It is not an http or https address.
    """
    url = given or os.environ.get(_EMULATOR) or _GOOGLE
    if not given and "://" not in url:
        url = f"http://{url}"  # Google's own clients differ in whether they want the scheme.
    try:
        address = urlsplit(url)
    except ValueError:
        address = urlsplit("")
    if address.scheme not in {"http", "https"} or not address.hostname or address.query or address.username:
        raise ConfigError(
            f"{'the endpoint' if given else _EMULATOR} is not an http or https address",
            "Give scheme, host and port: https://host:443.",
        )
    return url.rstrip("/")


def is_emulator(endpoint: str) -> bool:
    """Tell if no credentials are sent there: it has no TLS, or the environment names it as an emulator."""
    return endpoint.startswith("http:") or (bool(os.environ.get(_EMULATOR)) and endpoint == endpoint_of(None))
