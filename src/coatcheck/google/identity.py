"""Google credentials, found once and renewed before they expire."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import google.auth
import requests
from google.auth.credentials import (
    AnonymousCredentials,
    Credentials,
    CredentialsWithQuotaProject,
    with_scopes_if_required,
)
from google.auth.exceptions import DefaultCredentialsError, TransportError
from google.auth.transport.requests import AuthorizedSession, Request

from coatcheck.errors import CoatcheckError, ConfigError, StoreDenied, StoreUnavailable
from coatcheck.runtime.forks import after_fork

_SECONDS = 20
_FILE = "GOOGLE_APPLICATION_CREDENTIALS"


class GoogleIdentity:
    """Gives each request its headers. Safe to use from several event loops at once.

    Args:
        credentials: google-auth's; None looks for application default credentials on first use.
        scope: The OAuth scope of the token.
        project: The project that the requests are billed to; None leaves that to the credentials.
        ca_bundle: A file of the issuers to trust for the token server; None for requests' own.
        anonymous: Look for no credentials if none are given: a token would cross the network in the clear.
    """

    def __init__(
        self,
        credentials: Credentials | None,
        scope: str,
        *,
        project: str | None = None,
        ca_bundle: str | None = None,
        anonymous: bool = False,
    ) -> None:
        self._scopes = [scope]
        if anonymous and credentials is None:
            credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        self._given = credentials
        self._project = project
        self._credentials: Credentials | None = None
        self._current: dict[str, str] | None = None
        self._refused = False
        # A redirect would take what proves who asks to another place.
        self._sending: dict[str, Any] = {"allow_redirects": False, "verify": ca_bundle or True}
        self._renewing = threading.Lock()
        after_fork(self._start_anew)

    async def headers(self) -> dict[str, str]:
        """Return the headers that authenticate a request; none for anonymous credentials.

        Raises:
            ConfigError: No credentials were found, or they are set up wrongly.
            StoreDenied: Google does not renew them.
            StoreUnavailable: Google cannot be reached to renew them.
        """
        current = self._current
        if current is not None and self._credentials is not None and self._credentials.valid:
            return current
        return await asyncio.to_thread(self._checked)

    def session(self) -> AuthorizedSession:
        """Return an authenticated session for a client of Google's own; it follows no redirect. Raises as :meth:`headers`."""
        self._checked()
        session = AuthorizedSession(self._credentials, auth_request=self._token_request())  # type: ignore[no-untyped-call]
        # Not by its attributes: REQUESTS_CA_BUNDLE is above them.
        session.request = partial(session.request, **self._sending)  # type: ignore[method-assign]
        return session

    def refused(self, headers: dict[str, str]) -> bool:
        """Note that Google refused these headers; return True if new ones may help."""
        if not headers:
            return False
        # Without the lock, which another thread may hold while it talks to Google. At worst a token is renewed
        # once more than need be.
        if self._current == headers:
            self._refused = True
            self._current = None
        return True

    def _checked(self) -> dict[str, str]:
        try:
            return self._renewed()
        except Exception as error:  # noqa: BLE001 - what reads a file of somebody's raises whatever it finds there
            failure = _typed(error, self._credentials)
            if self._given is None:
                # Looked for anew next time: the file may be another one by then.
                self._credentials = None
        # Out here, so that the original does not hang on to it: it may hold what the token server said.
        raise failure

    def _renewed(self) -> dict[str, str]:
        with self._renewing:
            if self._credentials is None:
                self._credentials = self._found()
            if self._refused or not self._credentials.valid:
                self._credentials.refresh(self._token_request())  # type: ignore[no-untyped-call]
                self._refused = False
            headers: dict[str, str] = {}
            self._credentials.apply(headers)  # type: ignore[no-untyped-call]
            self._current = headers
            return headers

    def _token_request(self) -> "partial[Any]":
        return partial(Request(), timeout=_SECONDS, **self._sending)

    def _found(self) -> Credentials:
        credentials = self._given
        if credentials is None:
            credentials, _ = google.auth.default(scopes=self._scopes)
        credentials = cast(Credentials, with_scopes_if_required(credentials, self._scopes))  # type: ignore[no-untyped-call]
        if self._project is not None and isinstance(credentials, CredentialsWithQuotaProject):
            return cast(Credentials, credentials.with_quota_project(self._project))  # type: ignore[no-untyped-call]
        return credentials

    def _start_anew(self) -> None:
        self._renewing = threading.Lock()


def _typed(error: Exception, credentials: Credentials | None) -> CoatcheckError:
    """Return our error for google-auth's, without its words: they may quote a file of keys or the token server."""
    if credentials is None:
        return _not_found(error)
    if unproven := _unproven(getattr(credentials, "info", None)):
        return unproven
    causes = list(_causes(error))
    if any(isinstance(cause, requests.exceptions.SSLError) for cause in causes):
        return ConfigError(
            "the certificate of Google's token server is not accepted",
            "If its issuer is your own, as a proxy's, name its certificate: ca_bundle= of the store or its URL, or the "
            "setting ca_bundle.",
        )
    if getattr(error, "retryable", False) or any(isinstance(cause, TransportError) for cause in causes):
        return StoreUnavailable(
            "Google could not be reached to renew the credentials",
            "Check this machine's access to the internet.",
        )
    return StoreDenied(
        f"Google does not renew the credentials ({type(error).__name__})",
        "Log in again, or check the service account and its key.",
    )


def _not_found(error: Exception) -> CoatcheckError:
    todo = "Run `gcloud auth application-default login`, set GOOGLE_APPLICATION_CREDENTIALS, or pass credentials=."
    if file := os.environ.get(_FILE):
        return _unproven(_content(file)) or ConfigError(
            f"no Google credentials were found: {_FILE} names {file}, which "
            + ("has none that are usable" if os.access(file, os.R_OK) else "cannot be read"),
            "Correct it, or mount the file.",
        )
    if not isinstance(error, DefaultCredentialsError) and not isinstance(error, TransportError):
        return ConfigError(f"the Google credentials of gcloud cannot be read ({type(error).__name__})", todo)
    if os.environ.get("NO_GCE_CHECK") == "true":
        return ConfigError("no Google credentials were found", todo)
    # google-auth does not tell a machine whose metadata server is away from one that has none.
    return StoreUnavailable(
        "no Google credentials were found in the environment or in files, and no metadata server gives any",
        f"Retry if a service account is attached to this machine. Else: {todo[0].lower()}{todo[1:]}",
    )


def _content(file: str) -> object:
    try:
        return json.loads(Path(file).read_bytes())
    except (OSError, ValueError):
        return None


def _unproven(info: object) -> ConfigError | None:
    """Return the error for credentials of another identity provider whose token file cannot be read."""
    source = info.get("credential_source") if isinstance(info, dict) else None
    file = source.get("file") if isinstance(source, dict) else None
    if not isinstance(file, str) or os.access(file, os.R_OK):
        return None
    return ConfigError(
        f"{file}, the token of the Google credentials, cannot be read",
        "The Google credentials' credential_source names it. Correct it, or mount the file.",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        yield from (part for part in error.args if isinstance(part, BaseException))
        error = error.__cause__ or error.__context__
