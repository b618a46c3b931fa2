"""The settings of the codec server: the section ``[serve]`` of ``coatcheck.toml``, ``COATCHECK_SERVE__*``."""

from ipaddress import ip_address
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import NoDecode

REQUESTS: Final = 128
"""Requests under way at once: being read, waiting, worked on, or being sent. What is above is refused with 503."""
_STRICT = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class JwtSettings(BaseModel):
    """The section ``[serve.jwt]``: whose tokens are believed."""

    model_config = _STRICT

    jwks_url: str
    """Where the issuer publishes its keys; ``https``, or ``http`` on loopback."""
    issuer: str = Field(min_length=1)
    """Exactly what a token's ``iss`` has to be."""
    audience: str = Field(min_length=1)
    """What a token's ``aud`` has to hold."""
    permissions_claim: str = Field(default="permissions", min_length=1)
    """The claim that lists ``namespace:role``, as in Temporal's own default claim mapper."""

    @field_validator("jwks_url")
    @classmethod
    def _cannot_be_exchanged_on_its_way(cls, url: str) -> str:
        parts = urlsplit(url)
        if not parts.hostname or not (
            parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))
        ):
            raise ValueError("must be an https URL (http is taken on loopback only)")
        return url


class ServeSettings(BaseModel):
    """The section ``[serve]``: what the codec server does for whom."""

    model_config = _STRICT

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8081, ge=0, le=65535)
    """0 takes a free one."""
    origins: Annotated[list[str], NoDecode] = ["http://localhost:8233", "http://127.0.0.1:8233"]
    """Whose pages may ask, exactly as browsers name them: ``https://temporal.example.com``. In the environment
    separated by commas. By default the web UI of ``temporal server start-dev``."""
    encode: bool = False
    """True if ``/encode`` does anything."""
    download_over: int = Field(default=256 * 1024, ge=0)
    """Bytes. Offloaded payloads above it are offered for download where the caller asks to keep references."""
    max_request: int = Field(default=8 * 2**20, gt=0)
    """Bytes of a request's body. Temporal's messages have at most 4 MB, which base64 makes 5.6."""
    max_response: int = Field(default=64 * 2**20, gt=0)
    """Bytes of all payloads that one request may open, before base64."""
    max_in_flight: int = Field(default=128 * 2**20, gt=0)
    """Bytes of the payloads of all requests together, from before they are opened until they are sent; others wait."""
    concurrency: int = Field(default=16, gt=0, le=REQUESTS)
    """Requests that are worked on at once; others wait."""
    timeout: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Seconds until a request has its answer, its waiting and its body included."""
    idle_timeout: int = Field(default=10, gt=0)
    """Seconds that a caller may send no request, or take nothing of its answer, until it is dropped."""
    jwt: JwtSettings | None = None
    """Without it everybody who can reach the server may do everything."""

    @model_validator(mode="after")
    def _origins_are_exact(self) -> Self:
        for origin in self.origins:
            if not _is_origin(origin):
                raise ValueError(
                    f"origins: {origin!r} is none; write scheme://host or scheme://host:port in lower case, as browsers do"
                )
        return self


def is_loopback(host: str) -> bool:
    """Whether ``host`` is an address of this machine alone, or ``localhost``."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return False
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return (
        parts.scheme in {"http", "https"}
        and bool(host)
        and text == f"{parts.scheme}://{host}{port}"
        and "*" not in text
    )
