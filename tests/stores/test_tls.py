"""Certificates and the environment: one setting holds wherever a store asks, and what is wrong is said."""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import boto3
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.credentials import AnonymousCredentials, Credentials
from typer.testing import CliRunner

from coatcheck import Chain, Scope
from coatcheck.cli.app import app
from coatcheck.errors import CoatcheckError, ConfigError, StoreUnavailable
from coatcheck.keys.google import GoogleKms
from coatcheck.settings.model import Settings
from coatcheck.settings.registry import open_store
from coatcheck.stores.admin import gcs as gcs_admin
from coatcheck.stores.admin import s3 as s3_admin
from coatcheck.stores.admin import s3_lifecycle
from coatcheck.stores.gcs import GCSStore
from coatcheck.stores.s3 import S3Store
from tests.engines.aws_kms import AwsKmsServer
from tests.engines.fault_proxy import Fault, FaultProxy
from tests.engines.gcs import GCSServer
from tests.engines.google_kms import google_kms
from tests.engines.postgres import serving, unprivileged_user
from tests.engines.responder import responding
from tests.engines.tls import authority, tls_before
from tests.stores.operations import failures_of_all
from tests.stores.s3_fixtures import REGION, Bucket
from tests.stores.test_fault_matrix import gcs


@pytest.fixture
def issuer(tmp_path: Path) -> tuple[trustme.CA, Path]:
    return authority(tmp_path)


@pytest.fixture
async def s3(
    bucket: Bucket, issuer: tuple[trustme.CA, Path], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """The URL of a bucket of its own behind TLS."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket.server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket.server.secret_key)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(issuer[1].parent / "config"))
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    async with tls_before(bucket.server.endpoint, issuer[0]) as endpoint:
        yield f"s3://{bucket.name}/{issuer[1].parent.name}?endpoint_url={endpoint}&region={REGION}"


async def _works(url: str) -> None:
    """Every transport of a store, and of what is told about its bucket."""
    store = open_store(url)
    assert await failures_of_all(store) == [None] * 5
    await store.delete_versions("")
    await store.close()
    facts = {fact.topic: fact.fine for fact in await s3_admin.look(url)}
    assert facts["versioning"] is True
    await s3_lifecycle.harmful(url)


async def test_certificates_by_one_setting_of_ours(s3: str, issuer: tuple[trustme.CA, Path]) -> None:
    await _works(f"{s3}&ca_bundle={issuer[1]}")


async def test_certificates_by_the_environment(
    s3: str, issuer: tuple[trustme.CA, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(issuer[1]))
    await _works(s3)


async def test_certificates_by_the_profile(s3: str, issuer: tuple[trustme.CA, Path]) -> None:
    Path(os.environ["AWS_CONFIG_FILE"]).write_text(f"[default]\nca_bundle = {issuer[1]}\n")
    await _works(s3)


async def test_an_issuer_that_is_not_known_is_said_to_be_so(s3: str) -> None:
    store = open_store(s3)
    for failure in await failures_of_all(store):
        assert type(failure) is ConfigError
        assert "certificate" in failure.what
        assert "ca_bundle" in failure.todo
    with pytest.raises(CoatcheckError, match=r"SSL|certificate"):
        await store.delete_versions("")
    await store.close()
    assert {fact.fine for fact in await s3_admin.look(s3)} == {None}


async def test_a_certificate_for_another_host(bucket: Bucket, issuer: tuple[trustme.CA, Path]) -> None:
    session = boto3.Session("key", "secret", region_name=REGION)
    async with tls_before(bucket.server.endpoint, issuer[0], "elsewhere.example") as endpoint:
        store = S3Store(bucket.name, session=session, endpoint_url=endpoint, ca_bundle=str(issuer[1]))
        with pytest.raises(ConfigError, match=r"certificate .* not valid for '127\.0\.0\.1'"):
            await store.get("o")
        await store.close()


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_certificates_that_cannot_be_read_are_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "issuer.pem"
    if content is not None:
        file.write_text(content)
    session = boto3.Session("key", "secret", region_name=REGION)
    store = S3Store("payloads", session=session, ca_bundle=str(file))
    with pytest.raises(ConfigError, match=r"issuer\.pem"):
        await store.get("o")
    with pytest.raises(ConfigError, match=r"issuer\.pem"):
        GCSStore("payloads", ca_bundle=str(file))


async def test_https_to_a_port_without_tls_and_the_reverse(
    bucket: Bucket, gcs_server: GCSServer, issuer: tuple[trustme.CA, Path]
) -> None:
    session = boto3.Session("key", "secret", region_name=REGION)
    plain = bucket.server.endpoint.replace("http:", "https:")
    for store in (
        S3Store(bucket.name, session=session, endpoint_url=plain),
        GCSStore(
            "bucket", endpoint_url=gcs_server.endpoint.replace("http:", "https:"), credentials=_anonymous()
        ),
    ):
        for failure in await failures_of_all(store):
            assert type(failure) is ConfigError
            assert "does not speak TLS" in failure.what
            assert "http://" in failure.todo
        await store.close()
    async with tls_before(bucket.server.endpoint, issuer[0]) as endpoint:
        over = S3Store(bucket.name, session=session, endpoint_url=endpoint.replace("https:", "http:"))
        for failure in await failures_of_all(over):
            assert type(failure) is StoreUnavailable
        await over.close()


def _anonymous() -> Credentials:
    return AnonymousCredentials()  # type: ignore[no-untyped-call]


async def test_google_and_its_token_server_by_one_setting(
    gcs_server: GCSServer, issuer: tuple[trustme.CA, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = gcs(gcs_server).direct()
    assert isinstance(direct, GCSStore)
    token = json.dumps({"access_token": "from-google", "expires_in": 3600})
    async with (
        responding(200, token, {"Content-Type": "application/json"}) as tokens,
        tls_before(tokens, issuer[0]) as token_uri,
        tls_before(gcs_server.endpoint, issuer[0]) as endpoint,
    ):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = issuer[1].parent / "account.json"
        account.write_text(
            json.dumps(
                {
                    "type": "service_account",
                    "client_email": "tests@example.iam.gserviceaccount.com",
                    "private_key": key.decode(),
                    "token_uri": token_uri,
                }
            )
        )
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
        url = f"gs://{direct.bucket}/p?endpoint_url={endpoint}&ca_bundle={issuer[1]}"
        store = open_store(url)
        assert await failures_of_all(store) == [None] * 5
        await store.close()
        assert "could not look" not in (await gcs_admin.look(url))[0].said
        # Without it, the token server is the first that is not trusted.
        without = open_store(f"gs://{direct.bucket}/p?endpoint_url={endpoint}")
        with pytest.raises(ConfigError, match=r"certificate of Google's token server"):
            await without.get("o")
        await without.close()


SCOPE = Scope("tenant", "run")


@pytest.fixture
async def settings(
    s3: str, aws_kms: AwsKmsServer, issuer: tuple[trustme.CA, Path], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """Settings whose store and KMS both stand behind TLS; gives the URL of the store."""
    for name in [name for name in os.environ if name.startswith("COATCHECK_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(issuer[1].parent)
    async with tls_before(aws_kms.endpoint, issuer[0]) as endpoint:
        for name, value in {
            "AWS_ENDPOINT_URL_KMS": endpoint,
            "COATCHECK_KEYRING__KMS": aws_kms.new_key(),
            "COATCHECK_KEYRING__LABEL": "tests",
            "COATCHECK_OFFLOAD__STORE": s3,
            "COATCHECK_OFFLOAD__OVER": "16",
            "COATCHECK_OFFLOAD__DEADLINE": "120",
            "COATCHECK_OFFLOAD__PATIENCE": "120",
        }.items():
            monkeypatch.setenv(name, value)
        yield s3


async def test_the_setting_holds_for_store_replicas_other_stores_and_the_kms(
    settings: str, issuer: tuple[trustme.CA, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COATCHECK_CA_BUNDLE", issuer[1].name)
    payload = os.urandom(5000)
    async with Chain.from_settings() as chain:
        journal = await chain.encode(payload, SCOPE)
    elsewhere = settings.replace("?", "-elsewhere?")
    monkeypatch.setenv("COATCHECK_KEYRING__STORE", settings)
    monkeypatch.setenv("COATCHECK_OFFLOAD__STORE", elsewhere)
    with monkeypatch.context() as patch:
        patch.setenv("COATCHECK_OFFLOAD__REPLICAS", settings)
        async with Chain.from_settings() as chain:
            assert await chain.decode(journal, SCOPE) == payload
    monkeypatch.setenv("COATCHECK_OFFLOAD__ALIAS", "new")
    monkeypatch.setenv("COATCHECK_OFFLOAD__READ_ALSO__DEFAULT", settings)
    async with Chain.from_settings() as chain:
        assert await chain.decode(journal, SCOPE) == payload


async def test_without_the_setting_neither_store_nor_kms_is_trusted(
    settings: str, issuer: tuple[trustme.CA, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for store in (settings, f"file://{issuer[1].parent}/objects"):
        monkeypatch.setenv("COATCHECK_OFFLOAD__STORE", store)
        async with Chain.from_settings() as chain:
            with pytest.raises(ConfigError, match=r"certificate of .* not accepted.*setting ca_bundle"):
                await chain.encode(b"payload", SCOPE)


async def test_what_a_url_says_of_certificates_goes_before_the_setting(
    settings: str, issuer: tuple[trustme.CA, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    monkeypatch.setenv("COATCHECK_CA_BUNDLE", str(stranger))
    (refused, trusted) = (
        Settings.load().offload.open(str(stranger)),
        open_store(Settings.load().store_url(f"{settings}&ca_bundle={issuer[1]}")),
    )
    assert await failures_of_all(trusted) == [None] * 5
    with pytest.raises(ConfigError, match="certificate"):
        await refused.get("o")
    await trusted.close()
    await refused.close()


async def test_the_setting_holds_for_what_commands_ask_of_a_bucket(
    settings: str, issuer: tuple[trustme.CA, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COATCHECK_CA_BUNDLE", str(issuer[1]))
    lifecycle = ["store", "lifecycle", "--longest-run", "1d", "--retention", "1d"]
    for arguments in (["store", "check"], ["store", "check", settings], lifecycle):
        done = await asyncio.to_thread(CliRunner().invoke, app, arguments)
        assert "certificate" not in done.output
        # Other trials have bounds of time that a busy machine may pass.
        if "check" in arguments:
            found = {tuple(line.split()[:2]) for line in done.output.splitlines()}
            assert {("fine", "write"), ("fine", "read"), ("fine", "versioning")} <= found, done.output
        else:
            assert done.exit_code == 0, done.output


async def test_a_kms_of_google_takes_certificates(issuer: tuple[trustme.CA, Path]) -> None:
    async with google_kms() as server, tls_before(server.endpoint, issuer[0]) as endpoint:
        for ca_bundle in (str(issuer[1]), None):
            service = GoogleKms(
                server.new_key(), credentials=_anonymous(), endpoint_url=endpoint, ca_bundle=ca_bundle
            )
            if ca_bundle:
                assert await service.unwrap(await service.wrap(b"secret", {}), {}) == b"secret"
            else:
                with pytest.raises(ConfigError, match="certificate"):
                    await service.wrap(b"secret", {})
            await service.close()


@pytest.fixture
def postgres(issuer: tuple[trustme.CA, Path]) -> Iterator[str]:
    """The URL of a database that is reached by TLS only, with all that it proves being verified."""
    folder = Path(tempfile.mkdtemp(prefix="coatcheck-postgres-tls-"))
    try:
        certificate = issuer[0].issue_cert("127.0.0.1")
        chain, key = folder / "chain.pem", folder / "key.pem"
        certificate.cert_chain_pems[0].write_to_path(chain)
        certificate.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        if user := unprivileged_user():
            for path in (folder, chain, key):
                shutil.chown(path, user)
        with serving(ssl="on", ssl_cert_file=str(chain), ssl_key_file=str(key)) as server:
            yield f"{server.dsn()}?sslmode=verify-full"
    finally:
        shutil.rmtree(folder)


async def test_the_setting_is_the_root_certificate_of_postgresql(
    postgres: str, issuer: tuple[trustme.CA, Path]
) -> None:
    for ca_bundle, failure in ((str(issuer[1]), type(None)), (None, StoreUnavailable)):
        store = open_store(Settings(ca_bundle=ca_bundle).store_url(postgres))
        assert {type(found) for found in await failures_of_all(store)} == {failure}
        await store.close()


async def test_a_bucket_for_objects_alone_is_what_the_environment_decides(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Clients in other languages take these from the environment, and boto3 takes none of them."""
    for name, value in {
        "AWS_SERVER_SIDE_ENCRYPTION": "aws:kms",
        "AWS_SSE_KMS_KEY_ID": "key",
        "AWS_SSE_BUCKET_KEY_ENABLED": "true",
        "AWS_REQUEST_PAYER": "true",
        "AWS_ENDPOINT": "http://127.0.0.1:1",
        "AWS_BUCKET": "another",
        "AWS_UNSIGNED_PAYLOAD": "true",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_S3_EXPRESS": "true",
        "AWS_CHECKSUM_ALGORITHM": "none",
        "AWS_COPY_IF_NOT_EXISTS": "header: a: b",
        "AWS_CONDITIONAL_PUT": "disabled",
        "AWS_ALLOW_HTTP": "false",
    }.items():
        monkeypatch.setenv(name, value)
    session = boto3.Session(bucket.server.access_key, bucket.server.secret_key, region_name=REGION)
    async with FaultProxy(bucket.server.endpoint, lambda _: Fault.NONE) as proxy:
        store = S3Store(bucket.name, tmp_path.name, session=session, endpoint_url=proxy.endpoint)
        assert await failures_of_all(store) == [None] * 5
        heads = b"".join(request.head for request, _ in proxy.record).lower()
        await store.close()
        await proxy.abandoned()
    for sent in (b"x-amz-server-side-encryption", b"x-amz-request-payer", b"unsigned-payload"):
        assert sent not in heads
    assert b"if-none-match: *" in heads


@pytest.mark.parametrize("with_scheme", [True, False])
async def test_emulator_of_the_environment(
    gcs_server: GCSServer, monkeypatch: pytest.MonkeyPatch, with_scheme: bool
) -> None:
    direct = gcs(gcs_server).direct()
    assert isinstance(direct, GCSStore)
    endpoint = gcs_server.endpoint
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", endpoint if with_scheme else endpoint.removeprefix("http://"))
    store = GCSStore(direct.bucket)
    assert await failures_of_all(store) == [None] * 5
    await store.close()
    assert "could not look" not in (await gcs_admin.look(f"gs://{direct.bucket}"))[0].said


def test_emulator_that_is_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "ftp://host")
    with pytest.raises(ConfigError, match="STORAGE_EMULATOR_HOST"):
        GCSStore("bucket")
