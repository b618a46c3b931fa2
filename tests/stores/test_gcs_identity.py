"""Who GCSStore says it is, and what it makes of a refusal: fake-gcs-server asks nobody, so these answer by plan."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import google.auth
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.credentials import CredentialsWithQuotaProject
from google.auth.exceptions import RefreshError, TransportError
from google.oauth2 import service_account

from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    LimitExceeded,
    PayloadNotFound,
    StoreDenied,
    StoreUnavailable,
)
from coatcheck.google.identity import GoogleIdentity
from coatcheck.stores.gcs import GCSStore

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Credentials(CredentialsWithQuotaProject):
    """Token 1, token 2 and so on, each good for an hour."""

    def __init__(self, failure: Exception | None = None, quota_project: str | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0
        self.failure = failure
        self._quota_project_id = quota_project

    def refresh(self, request: object) -> None:
        assert callable(request)
        if self.failure:
            raise self.failure
        self.count += 1
        self.token = f"token-{self.count}"
        self.expiry = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)

    def with_quota_project(self, quota_project_id: str) -> "_Credentials":
        return _Credentials(self.failure, quota_project_id)


@asynccontextmanager
async def _service(handler: Handler) -> AsyncIterator[str]:
    """An HTTP server on loopback; its address."""
    application = web.Application(client_max_size=1 << 24)
    application.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(application, host="127.0.0.1") as server:
        yield str(server.make_url("")).rstrip("/")


def _answering(
    *answers: tuple[int, str | dict[str, object]], **headers: str
) -> tuple[Handler, list[web.Request]]:
    """A handler that gives ``answers`` one after the other, the last one for ever, and the requests it saw."""
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        await request.read()
        status, body = answers[min(len(seen), len(answers) - 1)]
        seen.append(request)
        text = body if isinstance(body, str) else json.dumps(body)
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return web.Response(status=status, text=text, headers={"x-goog-generation": "1", **named})

    return handler, seen


def _error(reason: str, message: str) -> dict[str, object]:
    """An error as the JSON API words it."""
    return {"error": {"message": message, "errors": [{"reason": reason, "message": message}]}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, _error("authError", "Invalid Credentials"), StoreDenied),
        (403, _error("forbidden", "no storage.objects.get access"), StoreDenied),
        (403, _error("insufficientPermissions", "Insufficient Permission"), StoreDenied),
        (403, _error("retentionPolicyNotMet", "object is under retention"), StoreDenied),
        (403, _error("rateLimitExceeded", "slow down"), StoreUnavailable),
        (408, "", StoreUnavailable),
        (409, _error("conflict", "concurrent change"), StoreUnavailable),
        (429, _error("rateLimitExceeded", "the object exceeded the rate limit"), StoreUnavailable),
        (500, _error("internalError", "Backend Error"), StoreUnavailable),
        (502, "<html>Bad Gateway</html>", StoreUnavailable),
        (503, "Service Unavailable", StoreUnavailable),
        (504, "", StoreUnavailable),
        (413, _error("uploadTooLarge", "too large"), LimitExceeded),
        (400, _error("userProjectMissing", "requester pays"), ConfigError),
        (412, _error("orgPolicyConstraintFailed", "not in this location"), ConfigError),
        (412, "", ConfigError),
        (307, "elsewhere", ConfigError),
    ],
)
async def test_what_the_service_answers(
    status: int, body: str | dict[str, object], kind: type[CoatcheckError]
) -> None:
    handler, seen = _answering((status, body), Location="http://127.0.0.1:1/elsewhere")
    async with _service(handler) as endpoint:
        store = GCSStore("bucket", endpoint_url=endpoint)
        for operation in (
            store.create("a", b"1"),
            store.replace("a", b"1"),
            store.get("a"),
            store.delete("a"),
        ):
            with pytest.raises(kind, match=str(status)) as caught:
                await operation
            assert type(caught.value) is kind
            assert caught.value.object_id == "a"
        with pytest.raises(kind):
            await anext(store.list_objects())
        assert len(seen) == 5
        await store.close()


@pytest.mark.parametrize(
    ("message", "kind", "requests"),
    [
        ("No such object: bucket/a", PayloadNotFound, 1),
        ("The specified bucket does not exist.", ConfigError, 2),
    ],
)
async def test_what_is_missing(message: str, kind: type[CoatcheckError], requests: int) -> None:
    """In the service's own words, which fake-gcs-server has not."""
    handler, seen = _answering((404, message))
    async with _service(handler) as endpoint:
        store = GCSStore("bucket", endpoint_url=endpoint)
        with pytest.raises(kind):
            await store.get("a")
        assert len(seen) == requests
        await store.close()


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None), ("-1", None)]
)
async def test_when_to_come_back(header: str, seconds: float | None) -> None:
    handler, _ = _answering((429, ""), Retry_After=header)
    async with _service(handler) as endpoint:
        store = GCSStore("bucket", endpoint_url=endpoint)
        with pytest.raises(StoreUnavailable) as caught:
            await store.get("a")
        assert caught.value.retry_after == seconds
        await store.close()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{",
        '{"items": []}',
        '{"kind": "storage#objects", "items": [{"name": "a"}]}',
        '{"kind": "storage#objects", "items": 1}',
    ],
)
async def test_unreadable_listing(body: str) -> None:
    handler, _ = _answering((200, body))
    async with _service(handler) as endpoint:
        store = GCSStore("bucket", endpoint_url=endpoint)
        with pytest.raises(StoreUnavailable, match="something other than Google"):
            await anext(store.list_objects())
        await store.close()


async def test_emulator_gets_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    def default(**_arguments: object) -> None:
        pytest.fail("credentials were looked for")

    monkeypatch.setattr(google.auth, "default", default)
    handler, seen = _answering((200, "data"))
    async with _service(handler) as endpoint:
        store = GCSStore("bucket", endpoint_url=endpoint)
        assert await store.get("a") == b"data"
        assert "Authorization" not in seen[0].headers
        await store.close()


async def test_token_and_project_are_sent() -> None:
    handler, seen = _answering((200, "data"))
    async with _service(handler) as endpoint:
        store = GCSStore("bucket", credentials=_Credentials(), project="payer", endpoint_url=endpoint)
        await asyncio.gather(*(store.get("a") for _ in range(32)))
        assert {request.headers["Authorization"] for request in seen} == {"Bearer token-1"}
        assert {request.headers["x-goog-user-project"] for request in seen} == {"payer"}
        await store.close()


async def test_token_is_renewed_before_it_expires() -> None:
    credentials = _Credentials()
    handler, seen = _answering((200, "data"))
    async with _service(handler) as endpoint:
        store = GCSStore("bucket", credentials=credentials, endpoint_url=endpoint)
        await store.get("a")
        credentials.expiry = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=1)
        await store.get("a")
        assert [request.headers["Authorization"] for request in seen] == ["Bearer token-1", "Bearer token-2"]
        await store.close()


async def test_refused_token_is_renewed_once() -> None:
    handler, seen = _answering((401, ""), (200, "data"))
    async with _service(handler) as endpoint:
        store = GCSStore("bucket", credentials=_Credentials(), endpoint_url=endpoint)
        assert await store.get("a") == b"data"
        assert [request.headers["Authorization"] for request in seen] == ["Bearer token-1", "Bearer token-2"]
        await store.close()


async def test_refused_tokens_are_renewed_once_for_all() -> None:
    """Many requests are refused with one old token: one renewal serves them all."""
    credentials = _Credentials()

    async def handler(request: web.Request) -> web.Response:
        good = request.headers["Authorization"] == "Bearer token-2"
        return web.Response(status=200 if good else 401, text="data", headers={"x-goog-generation": "1"})

    async with _service(handler) as endpoint:
        store = GCSStore("bucket", credentials=credentials, endpoint_url=endpoint)
        assert set(await asyncio.gather(*(store.get("a") for _ in range(32)))) == {b"data"}
        assert credentials.count == 2
        await store.close()


async def test_refused_again_is_denied() -> None:
    handler, seen = _answering((401, _error("authError", "Invalid Credentials")))
    async with _service(handler) as endpoint:
        store = GCSStore("bucket", credentials=_Credentials(), endpoint_url=endpoint)
        with pytest.raises(StoreDenied, match="Invalid Credentials") as caught:
            await store.create("a", bytes(1 << 20))
        assert len(seen) == 2
        assert "token-" not in f"{caught.value!r}{caught.value.__context__!r}"
        await store.close()


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (RefreshError("invalid_grant", {"error": "expired"}), StoreDenied),  # type: ignore[no-untyped-call]
        (RefreshError("internal_failure", retryable=True), StoreUnavailable),  # type: ignore[no-untyped-call]
        (TransportError("no route"), StoreUnavailable),  # type: ignore[no-untyped-call]
    ],
)
async def test_token_that_is_not_renewed(failure: Exception, kind: type[CoatcheckError]) -> None:
    handler, seen = _answering((200, "data"))
    async with _service(handler) as endpoint:
        store = GCSStore("bucket", credentials=_Credentials(failure), endpoint_url=endpoint)
        with pytest.raises(kind) as caught:
            await store.get("a")
        assert type(caught.value) is kind
        assert not seen
        await store.close()


async def test_no_credentials_to_be_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    store = GCSStore("bucket")
    with pytest.raises(ConfigError, match="no Google credentials"):
        await store.get("a")
    await store.close()


_ACCOUNT = {
    "type": "service_account",
    "client_email": "tests@example.iam.gserviceaccount.com",
    "private_key": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0LWtleQ==\n-----END PRIVATE KEY-----\n",
    "private_key_id": "1",
    "token_uri": "http://127.0.0.1:1/token",
}


@pytest.mark.parametrize(
    "content", [None, "", "{", "[]", '{"type": "secret-key"}', "\xff", json.dumps(_ACCOUNT)]
)
async def test_a_broken_file_of_credentials_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "account.json"
    if content is not None:
        file.write_text(content, "latin-1")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    store = GCSStore("bucket")
    words = r"account\.json, which " + ("cannot be read" if content is None else "has none that are usable")
    with pytest.raises(ConfigError, match=words) as caught:
        await store.get("a")
    assert "secret-key" not in f"{caught.value!r}{caught.value.__context__!r}"
    await store.close()


async def test_a_missing_proof_of_another_identity_provider_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Workload identity federation: the token that is to be exchanged is in a file."""
    account = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/p",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": str(tmp_path / "subject-token")},
    }
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    store = GCSStore("bucket")
    with pytest.raises(
        ConfigError, match=r"subject-token, the token of the Google credentials, cannot be read"
    ):
        await store.get("a")
    await store.close()


async def test_a_metadata_server_that_is_away_is_worth_a_retry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setattr("google.auth.compute_engine._metadata.is_on_gce", lambda **_: False)
    store = GCSStore("bucket")
    with pytest.raises(StoreUnavailable, match="no metadata server gives any"):
        await store.get("a")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(ConfigError, match="no Google credentials were found"):
        await store.get("a")
    await store.close()


async def test_a_key_that_was_replaced_in_its_file_is_read_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path / "account.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    refusals, _ = _answering((400, {"error": "invalid_grant", "error_description": "key was deleted"}))
    tokens, _ = _answering((200, {"access_token": "from-google", "expires_in": 3600}))
    handler, _ = _answering((200, "data"))

    async with _service(refusals) as refusing, _service(tokens) as giving, _service(handler) as endpoint:
        store = GCSStore("bucket", endpoint_url=endpoint)
        # At an http:// address none are looked for.
        store._bucket._client._identity = GoogleIdentity(None, "scope")
        file.write_text(
            json.dumps({**_ACCOUNT, "private_key": pem.decode(), "token_uri": f"{refusing}/token"})
        )
        with pytest.raises(StoreDenied, match="does not renew"):
            await store.get("a")
        file.write_text(json.dumps({**_ACCOUNT, "private_key": pem.decode(), "token_uri": f"{giving}/token"}))
        assert await store.get("a") == b"data"
        await store.close()


async def test_service_account_by_google_auth() -> None:
    """google-auth signs a request for a token with the account's key and gets one from its token server."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    tokens, asked = _answering((200, {"access_token": "from-google", "expires_in": 3600}))
    handler, seen = _answering((200, "data"))
    async with _service(tokens) as token_uri, _service(handler) as endpoint:
        account = {
            "type": "service_account",
            "client_email": "tests@example.iam.gserviceaccount.com",
            "private_key": pem.decode(),
            "private_key_id": "1",
            "token_uri": f"{token_uri}/token",
        }
        credentials = service_account.Credentials.from_service_account_info(account)  # type: ignore[no-untyped-call]
        store = GCSStore("bucket", credentials=credentials, endpoint_url=endpoint)
        assert await store.get("a") == b"data"
        assert await store.get("a") == b"data"
        assert [request.headers["Authorization"] for request in seen] == ["Bearer from-google"] * 2
        assert len(asked) == 1
        await store.close()
