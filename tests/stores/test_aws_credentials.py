"""Where S3's credentials come from, and what becomes of a request while they cannot be had."""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coatcheck.errors import CoatcheckError, ConfigError, StoreDenied, StoreUnavailable
from coatcheck.stores.s3 import S3Store
from tests.engines.fault_proxy import Fault, FaultProxy, Request
from tests.engines.portal import Portal, page
from tests.engines.process import free_port
from tests.engines.responder import responding, xml_error
from tests.stores.s3_fixtures import REGION, Bucket


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's AWS set-up."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def _keys(access_key: str, secret_key: str) -> str:
    return f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n"


def _store(bucket: Bucket, tmp_path: Path, endpoint: str = "") -> S3Store:
    return S3Store(
        bucket.name, tmp_path.name, endpoint_url=endpoint or bucket.server.endpoint, region=REGION, timeout=10
    )


def _expiring(bucket: Bucket, left: timedelta = timedelta(hours=1)) -> str:
    return json.dumps(
        {
            "AccessKeyId": bucket.server.access_key,
            "SecretAccessKey": bucket.server.secret_key,
            "Token": "",
            "Expiration": (datetime.now(UTC) + left).isoformat(),
        }
    )


@asynccontextmanager
async def _agent(bucket: Bucket, *answers: bytes) -> AsyncIterator[str]:
    """An agent of a container that gives these answers first, and credentials afterwards."""
    left = list(answers)
    good = page(200, _expiring(bucket), Content_Type="application/json")
    async with Portal(bucket.server.endpoint, lambda _: left.pop(0) if left else good) as agent:
        yield f"{agent.endpoint}/credentials"


async def test_an_agent_that_fails_for_a_while_is_worth_a_retry(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # botocore itself asks three times.
    async with _agent(bucket, *[page(500)] * 3) as uri:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)
        store = _store(bucket, tmp_path)
        with pytest.raises(StoreUnavailable, match="credentials cannot be obtained now: container-role"):
            await store.create("o", b"1")
        assert await store.create("o", b"1") is True
        await store.close()


async def test_an_agent_that_is_away_while_credentials_are_good(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are due for renewal and still good for a while: requests go on, and do not ask each time."""
    asked = 0

    def says(_request: Request) -> bytes | None:
        nonlocal asked
        asked += 1
        return page(200, _expiring(bucket, timedelta(minutes=12))) if asked == 1 else page(500)

    async with Portal(bucket.server.endpoint, says) as agent:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{agent.endpoint}/credentials")
        store = _store(bucket, tmp_path)
        for number in range(4):
            await store.create(f"{number}", b"1")
        await store.close()
        assert asked == 4  # The first, and one round of botocore's three.


async def test_an_instance_whose_metadata_service_is_away(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{free_port()}/")
    store = _store(bucket, tmp_path)
    with pytest.raises(StoreUnavailable, match=r"metadata service gives none.*AWS_PROFILE"):
        await store.get("o")
    # Credentials come: no new store is needed.
    (tmp_path / "credentials").write_text(_keys(bucket.server.access_key, bucket.server.secret_key))
    assert await store.create("o", b"1") is True
    await store.close()


async def test_no_credentials_at_all(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there are no AWS credentials"):
        await _store(bucket, tmp_path).get("o")


async def test_a_web_identity_token_that_is_not_there_is_named(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/agent")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(
        ConfigError, match=r"/token cannot be read: No such file.*AWS_WEB_IDENTITY_TOKEN_FILE"
    ):
        await _store(bucket, tmp_path).get("o")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", StoreDenied),
        (400, "InvalidIdentityToken", StoreDenied),
        (400, "IDPCommunicationError", StoreUnavailable),
        (400, "Throttling", StoreUnavailable),
        (503, "ServiceUnavailable", StoreUnavailable),
    ],
)
async def test_what_the_token_service_answers(
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    status: int,
    code: str,
    kind: type[CoatcheckError],
) -> None:
    (tmp_path / "token").write_text("secret-token")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/agent")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    body = f"<ErrorResponse><Error><Code>{code}</Code><Message>secret-token</Message></Error></ErrorResponse>"
    async with responding(status, body, {"Content-Type": "text/xml"}) as tokens:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", tokens)
        with pytest.raises(kind, match=f"{status} {code}") as raised:
            await _store(bucket, tmp_path).get("o")
    assert type(raised.value) is kind
    assert "secret-token" not in f"{raised.value!r}{raised.value.__context__!r}"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("[default]\nsource_profile = nobody\nrole_arn = arn:aws:iam::123456789012:role/agent\n", "nobody"),
        ("[default]\naws_access_key_id = key\n", "aws_secret_access_key"),
        ("nothing of a profile", "config"),
    ],
)
async def test_a_profile_that_is_set_up_wrongly_says_where(
    bucket: Bucket, tmp_path: Path, config: str, words: str
) -> None:
    (tmp_path / "config").write_text(config)
    with pytest.raises(ConfigError, match=words):
        await _store(bucket, tmp_path).get("o")


async def test_a_program_that_gives_no_credentials(bucket: Bucket, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import sys; print('secret-output', file=sys.stderr); sys.exit(3)")
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {sys.executable} {program}\n")
    with pytest.raises(StoreDenied, match="credential_process") as raised:
        await _store(bucket, tmp_path).get("o")
    assert "secret-output" not in str(raised.value)


async def test_refused_keys_are_read_anew_when_the_file_changed(bucket: Bucket, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text(_keys(bucket.server.access_key, "rotated-away"))
    async with FaultProxy(bucket.server.endpoint, lambda _: Fault.NONE) as proxy:
        store = _store(bucket, tmp_path, proxy.endpoint)
        with pytest.raises(StoreDenied, match="SignatureDoesNotMatch"):
            await store.create("o", b"1")
        # The same keys are not sent twice.
        assert len(proxy.record) == 1
        await store.close()

        fresh = _store(bucket, tmp_path, proxy.endpoint)
        file.write_text(_keys(bucket.server.access_key, "rotated-away"))
        await fresh._identity.credentials()
        file.write_text(_keys(bucket.server.access_key, bucket.server.secret_key))
        assert await fresh.create("o", b"1") is True
        assert [request.method for request, _ in proxy.record] == ["PUT"] * 3
        assert await fresh.get("o") == b"1"
        await fresh.close()
        await proxy.abandoned()


async def test_an_expired_token_is_no_reason_to_ask_again_for_ever(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text(_keys("key", "secret"))
    heard: list[bytes] = []
    async with responding(400, xml_error("ExpiredToken"), heard=heard) as endpoint:
        store = _store(bucket, tmp_path, endpoint)
        for _ in range(3):
            with pytest.raises(StoreDenied, match="ExpiredToken"):
                await store.get("o")
        await store.close()
    assert len(heard) == 3
