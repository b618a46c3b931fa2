"""Access tokens (JWT, RFC 7519), verified with the keys that their issuer publishes (JWKS, RFC 7517)."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from jwt import PyJWK, PyJWKClient, PyJWKClientConnectionError, PyJWKClientError, PyJWKSet

from coatcheck.server.refusals import Refusal, Refused
from coatcheck.settings.serve import JwtSettings

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures with a private key of the issuer. With HMAC, whoever can verify a token can also make one."""
_LEEWAY: Final = 30.0
"""Seconds by which the clocks of issuer and server may differ."""
_KEYS_LIVE: Final = 300.0
"""Seconds after which the issuer's keys are fetched again: a withdrawn key is accepted for at most this time."""
_FETCH_TIMEOUT: Final = 5.0
_PAUSE: Final = 5.0
"""Seconds between a failed fetch and the next."""

_SYSTEM: Final = "temporal-system"
"""The namespace whose roles apply in all namespaces (temporalio/temporal, common/authorization)."""
_READ: Final = frozenset({"read", "write", "admin"})
_WRITE: Final = frozenset({"write", "admin"})


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller and its rights.

    Args:
        subject: The token's ``sub``; empty where there is none.
        roles: Temporal's roles by namespace, in lower case; None for a caller who may do everything.
    """

    subject: str
    roles: Mapping[str, frozenset[str]] | None

    def may(self, namespace: str, *, write: bool) -> bool:
        """Return True if the caller has the right.

        Roles are those of Temporal's default authorizer: ``read``, ``write`` and ``admin`` may read, ``write`` and
        ``admin`` may write, and a role in ``temporal-system`` applies everywhere.

        Args:
            namespace: The namespace of the payloads.
            write: Ask for the right to write payloads, instead of reading them.
        """
        if self.roles is None:
            return True
        roles = self.roles.get(namespace, frozenset()) | self.roles.get(_SYSTEM, frozenset())
        return not roles.isdisjoint(_WRITE if write else _READ)


ANYBODY: Final = Caller("", None)
"""The caller where no tokens are required."""


class TokenVerifier:
    """A verifier of tokens, for one event loop. Keys are fetched in a thread, by one caller at a time.

    Args:
        settings: The accepted issuer and audience.
    """

    def __init__(self, settings: JwtSettings) -> None:
        self._settings = settings
        self._client = PyJWKClient(settings.jwks_url, lifespan=_KEYS_LIVE, timeout=_FETCH_TIMEOUT)
        self._fetching = asyncio.Lock()
        self._not_before = 0.0

    async def caller(self, authorization: str | None) -> Caller:
        """Verify a token and return its caller.

        Args:
            authorization: The header ``Authorization``.

        Raises:
            Refused: UNAUTHORIZED if there is no token that is valid now, for this audience, and signed by the issuer;
                UNAVAILABLE if the issuer's keys cannot be fetched.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refused(Refusal.UNAUTHORIZED, "no bearer token")
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS or not isinstance(header.get("kid"), str):
                raise Refused(Refusal.UNAUTHORIZED, "the token's algorithm or key id is not accepted")
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
            # The error's message can quote the token.
            raise Refused(Refusal.UNAUTHORIZED, f"the token is not valid: {type(error).__name__}") from None
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
                raise Refused(
                    Refusal.UNAVAILABLE, "the last attempt to fetch the issuer's keys has just failed"
                )
            try:
                return await asyncio.to_thread(self._client.get_signing_key, key_id)
            except PyJWKClientError as error:
                if isinstance(error, PyJWKClientConnectionError) or not self._key_set():
                    raise self._keys_unavailable(error) from None
                raise Refused(Refusal.UNAUTHORIZED, "the issuer has no such key") from None
            except (jwt.PyJWTError, ValueError, OSError) as error:
                raise self._keys_unavailable(error) from None

    def _known(self, key_id: str) -> PyJWK | None:
        """Return the key if it is cached."""
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
        return Refused(Refusal.UNAVAILABLE, f"the issuer's keys cannot be fetched: {type(error).__name__}")


def _roles(permissions: Any) -> dict[str, frozenset[str]]:
    """Parse ``["namespace:role", ...]`` into roles by namespace; anything else gives no right."""
    roles: dict[str, frozenset[str]] = {}
    for permission in permissions if isinstance(permissions, list) else ():
        if isinstance(permission, str):
            namespace, _, role = permission.partition(":")
            roles[namespace] = roles.get(namespace, frozenset()) | {role.lower()}
    return roles
