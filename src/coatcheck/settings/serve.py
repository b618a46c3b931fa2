"""The settings of the codec server: the section ``[serve]`` of ``coatcheck.toml``, ``COATCHECK_SERVE__*``."""

from ipaddress import ip_address
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import NoDecode

REQUESTS: Final = 128
"""Most requests under way at once: being read, waiting, processed or sent. Further ones are refused with 503."""
_STRICT = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class JwtSettings(BaseModel):
    """The section ``[serve.jwt]``: the issuer whose tokens are accepted."""

    model_config = _STRICT

    jwks_url: str
    """URL at which the issuer publishes its keys; ``https``, or ``http`` on loopback."""
    issuer: str = Field(min_length=1)
    """The exact ``iss`` that a token must have."""
    audience: str = Field(min_length=1)
    """The audience that a token's ``aud`` must contain."""
    permissions_claim: str = Field(default="permissions", min_length=1)
    """The claim that lists ``namespace:role``, as in Temporal's own default claim mapper."""

    @field_validator("jwks_url")
    @classmethod
    def _cannot_be_exchanged_on_its_way(cls, url: str) -> str:
        parts = urlsplit(url)
        if not parts.hostname or not (
            parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))
        ):
            raise ValueError("must be an https URL (http on loopback only)")
        return url


class ServeSettings(BaseModel):
    """The section ``[serve]``: the codec server."""

    model_config = _STRICT

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8081, ge=0, le=65535)
    """Port; 0 picks a free one."""
    origins: Annotated[list[str], NoDecode] = ["http://localhost:8233", "http://127.0.0.1:8233"]
    """Origins of the pages that may send requests, as browsers send them: ``https://temporal.example.com``. In the environment
    separated by commas. By default the web UI of ``temporal server start-dev``."""
    encode: bool = False
    """True to offer ``/encode``."""
    download_over: int = Field(default=256 * 1024, ge=0)
    """Bytes. Larger offloaded payloads are offered for download if the caller asks to keep references."""
    max_request: int = Field(default=8 * 2**20, gt=0)
    """Most bytes of a request's body. Temporal's messages have at most 4 MB, 5.6 MB in base64."""
    max_response: int = Field(default=64 * 2**20, gt=0)
    """Most bytes of all payloads that one request may open, before base64."""
    max_in_flight: int = Field(default=128 * 2**20, gt=0)
    """Most bytes of the payloads of all requests together, from before they are opened until they are sent; others wait."""
    concurrency: int = Field(default=16, gt=0, le=REQUESTS)
    """Most requests processed at once; others wait."""
    timeout: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Seconds until a request must have its answer, including its body and the wait."""
    idle_timeout: int = Field(default=10, gt=0)
    """Seconds after which a caller is dropped that sends no request, or reads nothing of its answer."""
    jwt: JwtSettings | None = None
    """Tokens that callers need. Without it, everyone who can reach the server may do everything."""

    @model_validator(mode="after")
    def _origins_are_exact(self) -> Self:
        for origin in self.origins:
            if not _is_origin(origin):
                raise ValueError(
                    f"origins: {origin!r} is not an origin; write scheme://host or scheme://host:port in lower case, as browsers do"
                )
        return self


def is_loopback(host: str) -> bool:
    """Tell if ``host`` is an address of this machine alone, or ``localhost``."""
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
