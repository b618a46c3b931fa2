"""Who is asking: access tokens (JWT, RFC 7519), verified with the keys that their issuer publishes (JWKS, RFC 7517)."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from jwt import PyJWK, PyJWKClient, PyJWKClientConnectionError, PyJWKClientError, PyJWKSet

from coatcheck.server.refusals import Answer, Refused
from coatcheck.settings.serve import JwtSettings

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures under a key that the issuer alone has. With HMAC, whoever can verify a token can make one."""
_LEEWAY: Final = 30.0
"""Seconds that the clocks of issuer and server may differ."""
_KEYS_LIVE: Final = 300.0
"""Seconds after which the issuer's keys are fetched again: as long as a withdrawn key is still believed."""
_FETCH_TIMEOUT: Final = 5.0
_PAUSE: Final = 5.0
"""Seconds between a failed fetch and the next."""

_SYSTEM: Final = "temporal-system"
"""The namespace whose roles hold in all of them (temporalio/temporal, common/authorization)."""
_READ: Final = frozenset({"read", "write", "admin"})
_WRITE: Final = frozenset({"write", "admin"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what they may.

    Args:
        subject: The token's ``sub``; empty where there is none.
        roles: Temporal's roles by namespace, in lower case; None for somebody who may do everything.
    """

    subject: str
    roles: Mapping[str, frozenset[str]] | None

    def may(self, namespace: str, *, write: bool) -> bool:
        """Whether the caller may read the payloads of the namespace, or write such.

        Roles mean what they mean to Temporal's default authorizer: ``read``, ``write`` and ``admin`` may read,
        ``write`` and ``admin`` may write, and a role in ``temporal-system`` holds everywhere.
        """
        if self.roles is None:
            return True
        held = self.roles.get(namespace, frozenset()) | self.roles.get(_SYSTEM, frozenset())
        return not held.isdisjoint(_WRITE if write else _READ)


ANYBODY: Final = Caller("", None)
"""Everybody, where no token is asked for."""


class TokenVerifier:
    """Verifies tokens. For one event loop; keys are fetched in a thread, by one caller at a time.

    Args:
        settings: Whose tokens are believed.
    """

    def __init__(self, settings: JwtSettings) -> None:
        self._settings = settings
        self._client = PyJWKClient(settings.jwks_url, lifespan=_KEYS_LIVE, timeout=_FETCH_TIMEOUT)
        self._fetching = asyncio.Lock()
        self._not_before = 0.0

    async def caller(self, authorization: str | None) -> Caller:
        """Whose token it is.

        Args:
            authorization: The header ``Authorization``.

        Raises:
            Refused: UNAUTHORIZED if it holds no token that is valid now, here, and signed by the issuer;
                UNAVAILABLE if the issuer's keys cannot be had.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refused(Answer.UNAUTHORIZED, "no bearer token")
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS or not isinstance(header.get("kid"), str):
                raise Refused(Answer.UNAUTHORIZED, "the token's algorithm or key id is not acceptable")
            claims = jwt.decode(
                token,
                await self._key(header["kid"]),
                algorithms=ALGORITHMS,
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=_LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError as error:
            # Its message can quote the token.
            raise Refused(Answer.UNAUTHORIZED, f"the token is not valid: {type(error).__name__}") from None
        return Caller(str(claims.get("sub", "")), _roles(claims.get(self._settings.permissions_claim)))

    async def _key(self, key_id: str) -> PyJWK:
        known = self._known(key_id)
        if known is not None:
            return known
        async with self._fetching:
            known = self._known(key_id)
            if known is not None:
                return known
            if time.monotonic() < self._not_before:
                raise Refused(Answer.UNAVAILABLE, "the issuer's keys could not be fetched a moment ago")
            try:
                return await asyncio.to_thread(self._client.get_signing_key, key_id)
            except PyJWKClientError as error:
                if isinstance(error, PyJWKClientConnectionError) or not self._key_set():
                    raise self._keys_unavailable(error) from None
                raise Refused(Answer.UNAUTHORIZED, "the issuer has no such key") from None
            except (jwt.PyJWTError, ValueError, OSError) as error:
                raise self._keys_unavailable(error) from None

    def _known(self, key_id: str) -> PyJWK | None:
        """The key, if it can be had without a request."""
        key_set = self._key_set()
        keys = key_set.keys if key_set else []
        return next(
            (key for key in keys if key.key_id == key_id and key.public_key_use in {"sig", None}), None
        )

    def _key_set(self) -> PyJWKSet | None:
        cache = self._client.jwk_set_cache
        return cache.get() if cache else None

    def _keys_unavailable(self, error: Exception) -> Refused:
        self._not_before = time.monotonic() + _PAUSE
        return Refused(Answer.UNAVAILABLE, f"the issuer's keys cannot be fetched: {type(error).__name__}")


def _roles(permissions: Any) -> dict[str, frozenset[str]]:
    """Roles by namespace from ``["namespace:role", ...]``; what is none of these gives no right."""
    roles: dict[str, frozenset[str]] = {}
    for permission in permissions if isinstance(permissions, list) else ():
        if isinstance(permission, str):
            namespace, _, role = permission.partition(":")
            roles[namespace] = roles.get(namespace, frozenset()) | {role.lower()}
    return roles
