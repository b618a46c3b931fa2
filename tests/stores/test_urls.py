"""Our stores by URL: what arrives at the store, and what is refused without repeating a secret."""

import asyncio
from contextlib import nullcontext
from pathlib import Path

import pytest

from coatcheck import ConfigError, FileStore
from coatcheck.settings.registry import open_store
from coatcheck.stores.gcs import GCSStore
from coatcheck.stores.postgres import PostgresStore
from coatcheck.stores.s3 import S3Store
from coatcheck.stores.urls import gs_arguments, s3_arguments, trusting

SECRET = "hunter2"


def refused(url: str) -> str:
    with pytest.raises(ConfigError) as info:
        open_store(url)
    assert SECRET not in str(info.value)
    assert SECRET not in str(info.value.__context__)
    return str(info.value)


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:///folder/below", "/folder/below"),
        ("file:///folder/", "/folder"),
        ("file://localhost/folder", "/folder"),
        ("file:///a%20b%23c%3Fd", "/a b#c?d"),
    ],
)
def test_file(url: str, folder: str) -> None:
    store = open_store(url)
    assert isinstance(store, FileStore)
    assert store.folder == Path(folder)


@pytest.mark.parametrize("trusted", ["true", "false"])
def test_folder_that_others_may_write_is_trusted_where_the_url_says_so(tmp_path: Path, trusted: str) -> None:
    tmp_path.chmod(0o777)
    store = open_store(f"file://{tmp_path}?trust_folder={trusted}")
    with nullcontext() if trusted == "true" else pytest.raises(ConfigError, match="trust_folder=true"):
        assert asyncio.run(store.create("a/b", b"x"))


@pytest.mark.parametrize("url", ["file://", "file:///", "file://folder/below", "file://./x", "file:///a%00b"])
def test_file_refused(url: str) -> None:
    assert "Write file:///folder, with three slashes" in refused(url)


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://Bucket.name/prod/payloads/", "Bucket.name", "prod/payloads/"),
        ("s3://bucket/prod%2Fpayloads", "bucket", "prod/payloads/"),
    ],
)
def test_s3(url: str, bucket: str, prefix: str) -> None:
    store = open_store(url)
    assert isinstance(store, S3Store)
    assert (store.bucket, store.prefix) == (bucket, prefix)


def test_s3_options() -> None:
    url = (
        "s3://bucket/prefix?endpoint_url=http://127.0.0.1:8333&region=eu-central-1&path_style=true"
        "&sse=aws:kms&kms_key_id=arn:aws:kms:eu-central-1:1:key/x&timeout=2.5"
    )
    assert s3_arguments(url) == {
        "bucket": "bucket",
        "prefix": "prefix",
        "endpoint_url": "http://127.0.0.1:8333",
        "region": "eu-central-1",
        "path_style": True,
        "sse": "aws:kms",
        "kms_key_id": "arn:aws:kms:eu-central-1:1:key/x",
        "timeout": 2.5,
    }
    assert isinstance(open_store(url), S3Store)


def test_gs() -> None:
    url = "gs://bucket/prefix?endpoint_url=http://127.0.0.1:1&project=mine&connections=3&timeout=9"
    assert gs_arguments(url) == {
        "bucket": "bucket",
        "prefix": "prefix",
        "endpoint_url": "http://127.0.0.1:1",
        "project": "mine",
        "connections": 3,
        "timeout": 9.0,
    }
    store = open_store(url)
    assert isinstance(store, GCSStore)
    assert (store.bucket, store.prefix) == ("bucket", "prefix/")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_postgresql(scheme: str) -> None:
    store = open_store(
        f"{scheme}://user:{SECRET}%40x@host:5433/db?table=mine&sslmode=require&prefix=prod&connections=2"
    )
    assert isinstance(store, PostgresStore)
    assert (store.table, store.prefix) == ("mine", "prod/")
    assert repr(store) == "PostgresStore(table='mine', prefix='prod/')"


def test_what_is_libpqs_goes_to_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[object, ...]] = []
    monkeypatch.setattr(PostgresStore, "__init__", lambda _self, dsn, **options: given.append((dsn, options)))
    for url in (
        "postgresql://u:p%3Fw@h1:1,h2:2/db?target_session_attrs=read-write&table=mine&sslmode=require",
        "postgresql://u@h/db?table=mine&timeout=3",
        "postgresql:///db?host=/run/postgresql",
        "postgresql://h",
    ):
        open_store(url)
    assert given == [
        (
            "postgresql://u:p%3Fw@h1:1,h2:2/db?target_session_attrs=read-write&sslmode=require",
            {"table": "mine"},
        ),
        ("postgresql://u@h/db", {"table": "mine", "timeout": 3.0}),
        ("postgresql:///db?host=/run/postgresql", {}),
        ("postgresql://h", {}),
    ]


@pytest.mark.parametrize(
    ("url", "exist"),
    [
        ("file:///folder?mode=hunter2", "Known options: trust_folder."),
        (
            "s3://bucket?regoin=hunter2",
            "Known options: endpoint_url, region, path_style, sse, kms_key_id, ca_bundle, timeout.",
        ),
        (
            "gs://bucket?region=hunter2",
            "Known options: endpoint_url, project, connections, ca_bundle, timeout.",
        ),
        (
            "postgresql://u:hunter2@host/db?coatcheck_table=x",
            "Known options: table, prefix, connections, timeout, and those of libpq.",
        ),
    ],
)
def test_an_unknown_option_names_those_that_exist(url: str, exist: str) -> None:
    found = refused(url)
    assert "unknown option" in found
    assert exist in found


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://bucket?region=a&region=b", "has the option 'region' twice"),
        ("s3://bucket?path_style=1", "'path_style' of the store's URL is neither true nor false"),
        ("s3://bucket?path_style", "'path_style' of the store's URL is neither true nor false"),
        ("s3://bucket?sse=aes", "'sse' of the store's URL is not one of AES256, aws:kms, aws:kms:dsse"),
        ("s3://bucket?timeout=0", "'timeout' of the store's URL is not a number of seconds above 0"),
        ("s3://bucket?timeout=nan", "'timeout' of the store's URL is not a number of seconds above 0"),
        ("s3://bucket?timeout=hunter2", "'timeout' of the store's URL is not a number of seconds above 0"),
        ("s3://bucket?endpoint_url=hunter2", "not an http or https address"),
        ("s3://bucket?endpoint_url=http://u:hunter2%40host", "not an http or https address"),
        ("s3://bucket?endpoint_url=http://[hunter2", "not an http or https address"),
        ("gs://bucket?connections=1.5", "'connections' of the store's URL is not a whole number above 0"),
        ("gs://bucket?connections=0", "'connections' of the store's URL is not a whole number above 0"),
    ],
)
def test_a_wrong_option(url: str, said: str) -> None:
    assert said in refused(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://KEY:hunter2@bucket/prefix",
        "s3://KEY:hunter2/prefix",
        "gs://hunter2@bucket",
        "gs://KEY:hun?hunter2@bucket",
        "s3://bucket:80/x",
    ],
)
def test_buckets_have_no_credentials(url: str) -> None:
    assert "must be a bucket's name only" in refused(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/hunter2#x",
        "s3://bucket/hunter2\n",
        "s3://bucket/a hunter2",
        "s3://[hunter2",
        "gs://bucket/hun?hunter2@bucket",
        "postgresql://u:pa?hunter2@host/db",
        "postgresql://u:pa?hunter2=x@host/db",
        "postgresql://u:hunter2@host/db\n",
    ],
)
def test_malformed(url: str) -> None:
    assert "the store's URL is malformed. Escape special characters" in refused(url)


@pytest.mark.parametrize("url", ["s3://", "s3:///prefix", "gs://", "s3://bucket/../up", "gs://bucket//x"])
def test_what_the_store_itself_refuses(url: str) -> None:
    assert refused(url)


def test_a_connection_string_that_libpq_refuses() -> None:
    assert "not a connection string of PostgreSQL" in refused(f"postgresql://u:{SECRET}@[::1/db")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket/prefix", "s3://bucket/prefix?ca_bundle=/our%20own.pem"),
        ("GS://bucket?timeout=3", "GS://bucket?timeout=3&ca_bundle=/our%20own.pem"),
        ("postgresql://u@h/db?sslmode=verify-full", None),
        ("postgres://u@h/db?sslrootcert=system", "postgres://u@h/db?sslrootcert=system"),
        ("s3://bucket?ca_bundle=/other.pem&region=r", "s3://bucket?ca_bundle=/other.pem&region=r"),
        ("file:///folder", "file:///folder"),
        ("attic://somewhere", "attic://somewhere"),
        ("no url", "no url"),
    ],
)
def test_certificates_become_the_option_of_a_url_unless_it_has_one(url: str, expected: str | None) -> None:
    assert trusting(url, None) == url
    assert trusting(url, "/our own.pem") == (expected or f"{url}&sslrootcert=/our%20own.pem")
    if url.lower().startswith(("s3:", "gs:")):
        arguments = s3_arguments if url.startswith("s3:") else gs_arguments
        assert arguments(trusting(url, "/our own.pem"))["ca_bundle"] in {"/our own.pem", "/other.pem"}
