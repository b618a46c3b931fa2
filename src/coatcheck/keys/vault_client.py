"""Requests to Vault or OpenBao with a token, which is renewed. Needs aiohttp: ``pip install 'coatcheck[vault]'``."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from coatcheck.errors import KeyServiceError, StoreUnavailable
from coatcheck.keys.vault_auth import VaultAuth
from coatcheck.runtime.clock import boottime
from coatcheck.runtime.http import Answer, HttpClient, Request
from coatcheck.runtime.single_flight import SingleFlight

_LOOKUP: Final = "auth/token/lookup-self"
_RENEWAL: Final = "auth/token/renew-self"
_ANSWER_LIMIT: Final = 1 << 20
"""Bytes of a success: what it says of a key names each version, in 16 bytes."""
_CONNECTIONS: Final = 16
_SECONDS: Final = 5.0
_RENEW_AFTER: Final = 2 / 3
"""Part of its time to live after which a token is renewed."""
_BEHIND: Final = 412
"""Vault's status for a node that has not yet heard of what the token was made with."""
_AWAY: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, _BEHIND, HTTPStatus.TOO_MANY_REQUESTS})
_REFUSED: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
)


@dataclass(frozen=True, slots=True, eq=False)
class _Token:
    secret: str = field(repr=False)
    renewable: bool
    seconds: float
    """Time to live from :attr:`since`; 0 if it never expires, or if that is unknown."""
    since: float
    """By :func:`boottime`."""

    def is_past(self, part: float) -> bool:
        return self.seconds > 0 and boottime() - self.since > self.seconds * part


class VaultClient:
    """Sends requests with a token that it gets by ``auth``, and renews after two thirds of its time to live, when used.

    Safe to use from several tasks, threads and event loops. Two threads may log in at the same time; either token works.

    Args:
        kind: The name of the service, for errors.
        endpoint: Scheme, host and port.
        namespace: Sent as ``X-Vault-Namespace``, with the login too; empty for the root namespace.
        auth: The way to a token.
        ca_bundle: As of :class:`HttpClient`.
    """

    def __init__(
        self, kind: str, endpoint: str, namespace: str, auth: VaultAuth, ca_bundle: str | None = None
    ) -> None:
        self._kind = kind
        self._endpoint = endpoint
        # The second is what an agent in between may ask for, against requests that a browser was tricked into.
        self._headers = {"Content-Type": "application/json", "X-Vault-Request": "true"}
        if namespace:
            self._headers["X-Vault-Namespace"] = namespace
        self._auth = auth
        self._http = HttpClient(endpoint, _SECONDS, connections=_CONNECTIONS, ca_bundle=ca_bundle)
        self._token: _Token | None = None
        self._renewing: SingleFlight[_Token] = SingleFlight()

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Send a request and return its answer: a success, or a refusal that is not the token's fault.

        A token that has expired or was revoked is replaced once.

        Args:
            method: Of HTTP.
            path: What comes after ``/v1/``.
            body: Sent as JSON.

        Raises:
            KeyServiceError: Vault is away, sealed, overloaded or redirects; or, not retryable, it refuses to log in or
                does not know the token.
            ConfigError: There are no credentials, or the server's certificate is not trusted.
        """
        token = await self._current()
        answer = await self._send(method, path, body, token)
        if answer.status == HTTPStatus.FORBIDDEN and not await self._is_known(token):
            if self._token is token:
                self._token = None
            replaced = await self._current()
            if replaced.secret == token.secret:
                raise KeyServiceError(
                    f"{self._kind} at {self._endpoint} does not accept the token: it has expired, was revoked, or is another's",
                    "Give a new token; or let processes log in, by role_id or kubernetes_role.",
                    retryable=False,
                )
            answer = await self._send(method, path, body, replaced)
        return answer

    async def close(self) -> None:
        """Close the connections of all loops; new ones are opened when needed. The token stays."""
        await self._http.close()

    def section(self, answer: Answer, name: str) -> dict[str, Any]:
        """Return an object in the JSON of a success.

        Raises:
            KeyServiceError: The answer has none.
        """
        try:
            found = json.loads(answer.body)[name]
        except (ValueError, LookupError, TypeError):
            found = None
        if not isinstance(found, dict):
            raise self.unreadable()
        return found

    def unreadable(self) -> KeyServiceError:
        """Return the error for an answer that cannot be Vault's. It quotes nothing: there may be a key in it."""
        return KeyServiceError(
            f"the answer of {self._kind} at {self._endpoint} was damaged, or is another service's",
            "Retry; check the endpoint.",
        )

    async def _current(self) -> _Token:
        token = self._token
        if token is None or (token.is_past(1) and self._auth.login):
            return await self._renewing.run("token", self._obtained)
        if token.renewable and token.is_past(_RENEW_AFTER):
            return await self._renewing.run("token", lambda: self._renewed(token))
        return token

    async def _obtained(self) -> _Token:
        proof = await asyncio.to_thread(self._auth.proof)
        if self._auth.login:
            answer = await self._send("POST", self._auth.login, proof)
            if answer.status in _REFUSED:
                raise KeyServiceError(
                    f"{self._kind} at {self._endpoint} refuses the login by {self._auth.method} ({answer.status})",
                    f"Check the role, its secret, the namespace, and the path {self._auth.login}.",
                    retryable=False,
                )
            self._token = self._read(answer, "auth", secret="client_token", seconds="lease_duration")  # noqa: S106 - a field
        else:
            given = _Token(proof["token"], renewable=False, seconds=0, since=boottime())
            answer = await self._send("GET", _LOOKUP, None, given)
            # A token that may not look itself up is good for what it may do.
            found = answer.status == HTTPStatus.OK
            self._token = self._read(answer, "data", secret="id", seconds="ttl") if found else given  # noqa: S106 - a field
        return self._token

    async def _renewed(self, token: _Token) -> _Token:
        """Return the token with more time to live; as it is, if it gets none: it may have long to live still."""
        try:
            answer = await self._send("POST", _RENEWAL, {}, token)
        except KeyServiceError:
            return token
        if answer.status == HTTPStatus.OK:
            self._token = self._read(answer, "auth", secret="client_token", seconds="lease_duration")  # noqa: S106 - a field
            return self._token
        return token

    async def _is_known(self, token: _Token) -> bool:
        return (await self._send("GET", _LOOKUP, None, token)).status == HTTPStatus.OK

    def _read(self, answer: Answer, section: str, *, secret: str, seconds: str) -> _Token:
        found = self.section(answer, section)
        token, lives, renewable = found.get(secret), found.get(seconds), found.get("renewable")
        if not isinstance(token, str) or not token.isprintable() or not isinstance(lives, int) or lives < 0:
            raise self.unreadable()
        return _Token(token, renewable is True, lives, boottime())

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, token: _Token | None = None
    ) -> Answer:
        headers = self._headers if token is None else {**self._headers, "X-Vault-Token": token.secret}
        content = () if body is None else (json.dumps(body).encode(),)
        try:
            request = Request(method, f"{self._endpoint}/v1/{path}", headers, content, _ANSWER_LIMIT)
            answer = await self._http.ask(request, "")
        except StoreUnavailable as error:
            # The client is the one that stores have.
            raise KeyServiceError(error.what, error.todo, retryable=error.retryable) from None
        said = f"{self._kind} at {self._endpoint} answers {answer.status}"
        if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
            raise KeyServiceError(
                f"{said}: it redirects, and redirects are not followed",
                "Give the address of the active node, or of a load balancer that finds it.",
            )
        if answer.status in _AWAY or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise KeyServiceError(
                said, "Retry after a pause; check that it is unsealed.", retry_after=answer.retry_after()
            )
        return answer
