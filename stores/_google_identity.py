"""Who asks, in Google's terms: credentials that are found once and renewed before they run out."""

import asyncio
import threading
from functools import partial
from typing import cast

import google.auth
from google.auth.credentials import Credentials, CredentialsWithQuotaProject, with_scopes_if_required
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.auth.transport.requests import Request

from coatcheck.errors import CoatcheckError, ConfigError, StoreDenied, StoreUnavailable

_SECONDS = 20


class GoogleIdentity:
    """Gives each request its headers. Safe to use from several event loops at once.

    Args:
        credentials: Whose; None looks for application default credentials on first use.
        project: The project that the requests are billed to; None leaves that to the credentials.
        scope: What the token is for.
    """

    def __init__(self, credentials: Credentials | None, project: str | None, scope: str) -> None:
        self._scopes = [scope]
        self._given = credentials
        self._project = project
        self._credentials: Credentials | None = None
        self._current: dict[str, str] | None = None
        self._refused = False
        self._renewing = threading.Lock()

    async def headers(self) -> dict[str, str]:
        """The headers that say who asks; none for anonymous credentials.

        Raises:
            ConfigError: There are no credentials to be found.
            StoreDenied: Google does not renew them.
            StoreUnavailable: Google cannot be reached to renew them.
        """
        current = self._current
        if current is not None and self._credentials is not None and self._credentials.valid:
            return current
        try:
            return await asyncio.to_thread(self._renewed)
        except GoogleAuthError as error:
            failure = _typed(error)
        # Out here, so that the original does not hang on to it: it may hold what the token server said.
        raise failure

    def refused(self, headers: dict[str, str]) -> bool:
        """Google did not take these headers: whether asking again with new ones may help."""
        if not headers:
            return False
        # Without the lock, which another thread may hold while it talks to Google. At worst a token is renewed
        # once more than need be.
        if self._current == headers:
            self._refused = True
            self._current = None
        return True

    def _renewed(self) -> dict[str, str]:
        with self._renewing:
            if self._credentials is None:
                self._credentials = self._found()
            if self._refused or not self._credentials.valid:
                self._credentials.refresh(partial(Request(), timeout=_SECONDS))  # type: ignore[no-untyped-call]
                self._refused = False
            headers: dict[str, str] = {}
            self._credentials.apply(headers)  # type: ignore[no-untyped-call]
            self._current = headers
            return headers

    def _found(self) -> Credentials:
        credentials = self._given
        if credentials is None:
            credentials, _ = google.auth.default(scopes=self._scopes)
        credentials = cast(Credentials, with_scopes_if_required(credentials, self._scopes))  # type: ignore[no-untyped-call]
        if self._project is not None and isinstance(credentials, CredentialsWithQuotaProject):
            return cast(Credentials, credentials.with_quota_project(self._project))  # type: ignore[no-untyped-call]
        return credentials


def _typed(error: GoogleAuthError) -> CoatcheckError:
    if isinstance(error, DefaultCredentialsError):
        return ConfigError(
            "no Google credentials were found",
            "Run `gcloud auth application-default login`, set GOOGLE_APPLICATION_CREDENTIALS, or pass credentials=.",
        )
    if error.retryable or isinstance(error, TransportError) or isinstance(error.__cause__, TransportError):
        return StoreUnavailable(
            "Google could not be reached to renew the credentials", "Check the way to the internet from here."
        )
    return StoreDenied(
        f"Google does not renew the credentials ({type(error).__name__})",
        "Log in again, or check the service account and its key.",
    )
