"""Buckets that keep versions, on the real servers: what a sweep deletes is gone for good, and all else stays."""

import json
import secrets
from collections.abc import AsyncIterator
from typing import Any
from urllib.request import Request as UrlRequest
from urllib.request import urlopen

import pytest

from coatcheck import (
    CoatcheckError,
    ConfigError,
    GCSStore,
    S3Store,
    Store,
    StoreDenied,
    StoreUnavailable,
)
from coatcheck.retention.rules import Action
from coatcheck.runtime.concurrency import all_at_once
from tests.engines.fault_proxy import Request
from tests.engines.gcs import GCSServer
from tests.engines.portal import Portal, page
from tests.engines.responder import responding, xml_error
from tests.retention.aged_store import AgedStore
from tests.retention.sweeping import ORIGIN, Live, chain_on, scope_of, sweep_of, swept_twice
from tests.stores.s3_fixtures import REGION, Bucket, session_of

SCOPE = f"{'ab' * 16}/{'cd' * 16}/"
OTHER = f"{'ab' * 16}/{'ce' * 16}/"


class Versioned:
    """A bucket with versioning, seen without coatcheck."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.name = f"versions-{secrets.token_hex(6)}"
        bucket.client.create_bucket(Bucket=self.name)
        self.switch("Enabled")

    def switch(self, status: Any) -> None:
        self.bucket.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": status})

    def store(self, access_key: str = "", secret_key: str = "", endpoint: str = "") -> S3Store:
        server = self.bucket.server
        session = session_of(access_key or server.access_key, secret_key or server.secret_key)
        return S3Store(
            self.name, "prod", endpoint_url=endpoint or server.endpoint, region=REGION, session=session
        )

    def versions(self, prefix: str = "") -> list[tuple[str, bool]]:
        """Key and whether it is current, of every version and marker."""
        found = self.bucket.client.list_object_versions(Bucket=self.name, Prefix=f"prod/{prefix}")
        return sorted(
            (one.get("Key", "").removeprefix("prod/"), one.get("IsLatest", False))
            for kind in (found.get("Versions", []), found.get("DeleteMarkers", []))
            for one in kind
        )


@pytest.fixture
def versioned(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Versioned:
    """On a server that is taken for one that can: nobody writes while versions are deleted here."""
    monkeypatch.setattr("coatcheck.stores._s3.versions._LOSES_WRITES", ())
    return Versioned(bucket)


async def test_s3_deletes_what_is_not_current_and_nothing_else(versioned: Versioned) -> None:
    store = versioned.store()
    for key in (f"{SCOPE}kept", f"{SCOPE}gone", f"{OTHER}gone"):
        await store.create(key, b"1")
        await store.replace(key, b"2")
    await store.delete(f"{SCOPE}gone")
    await store.delete(f"{OTHER}gone")
    assert len(versioned.versions(SCOPE)) == 5
    await store.delete_versions(SCOPE)
    assert versioned.versions(SCOPE) == [(f"{SCOPE}kept", True)]
    assert await store.get(f"{SCOPE}kept") == b"2"
    assert len(versioned.versions(OTHER)) == 3
    await store.close()


async def test_a_server_that_loses_what_is_written_meanwhile_is_not_asked(bucket: Bucket) -> None:
    """SeaweedFS: its pointer to the latest version is read, changed and written without a lock."""
    versioned = Versioned(bucket)
    store = versioned.store()
    await store.create(f"{SCOPE}gone", b"1")
    await store.delete(f"{SCOPE}gone")
    with pytest.raises(StoreDenied, match="SeaweedFS loses what is written"):
        await store.delete_versions(SCOPE)
    assert len(versioned.versions(SCOPE)) == 2
    await store.close()


async def test_an_unversioned_bucket_of_s3_is_asked_once_and_loses_nothing(bucket: Bucket) -> None:
    server = bucket.server
    store = S3Store(
        bucket.name,
        f"plain-{secrets.token_hex(6)}",
        endpoint_url=server.endpoint,
        region=REGION,
        session=session_of(server.access_key, server.secret_key),
    )
    await store.create(f"{SCOPE}kept", b"1")
    await store.delete_versions(SCOPE)
    assert await store.get(f"{SCOPE}kept") == b"1"
    await store.close()


async def test_who_may_not_delete_versions_is_told_what_it_takes(versioned: Versioned) -> None:
    server = versioned.bucket.server
    store = versioned.store()
    await store.create(f"{SCOPE}gone", b"1")
    await store.delete(f"{SCOPE}gone")
    reader = versioned.store(server.reader_access_key, server.reader_secret_key)
    with pytest.raises(StoreDenied, match="s3:DeleteObjectVersion"):
        await reader.delete_versions(SCOPE)
    assert len(versioned.versions(SCOPE)) == 2
    await store.close()


async def test_locked_versions_are_left_and_named_and_all_others_go(versioned: Versioned) -> None:
    """The server for tests has no object lock; what Amazon documents for a batch with a locked version stands in."""
    store = versioned.store()
    await store.create(f"{SCOPE}gone", b"1")
    await store.delete(f"{SCOPE}gone")
    locked = (
        f"<Error><Key>prod/{SCOPE}gone</Key><Code>AccessDenied</Code>"
        "<Message>Access Denied because object protected by object lock.</Message></Error>"
    )
    asked: list[Request] = []

    def says(request: Request) -> bytes | None:
        if request.method != "POST":
            return None
        asked.append(request)
        body = f'<?xml version="1.0"?><DeleteResult>{locked if len(asked) == 1 else ""}</DeleteResult>'
        return page(200, body, Content_Type="application/xml", x_amz_request_id="1")

    async with Portal(versioned.bucket.server.endpoint, says) as proxy:
        with pytest.raises(StoreDenied, match="1 noncurrent versions are locked") as raised:
            await versioned.store(endpoint=proxy.endpoint).delete_versions(SCOPE)
    assert raised.value.object_id == f"prod/{SCOPE}gone"
    # The markers were asked for after the version that is locked.
    assert len(asked) == 2
    await store.close()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "NoSuchBucket", ConfigError),
        (400, "SlowDown", StoreUnavailable),
        (503, "SlowDown", StoreUnavailable),
        (403, "AccessDenied", StoreDenied),
        (400, "MalformedXML", ConfigError),
    ],
)
async def test_what_s3_answers_about_versions(
    versioned: Versioned, status: int, code: str, kind: type[CoatcheckError]
) -> None:
    async with responding(status, xml_error(code), {"x-amz-request-id": "1"}) as endpoint:
        with pytest.raises(kind) as raised:
            await versioned.store(endpoint=endpoint).delete_versions(SCOPE)
    assert type(raised.value) is kind


async def swept(store: Store) -> None:
    aged = AgedStore(store)
    scope = scope_of("dead")
    chain = chain_on(aged)
    await all_at_once(
        chain.encode(payload, scope)
        for payload in [bytes([turn]) * 900 + secrets.token_bytes(900) for turn in range(3)]
    )
    report = await swept_twice(sweep_of(aged, Live()), aged)
    assert (report.of(Action.DELETE).scopes, report.deleted, report.versions_left) == (1, 3, False)


async def test_a_sweep_leaves_no_version_in_s3(versioned: Versioned) -> None:
    store = versioned.store()
    await swept(store)
    assert [key for key, _ in versioned.versions() if ORIGIN not in key] == []
    await store.close()


async def test_a_sweep_that_may_not_delete_versions_says_so_and_goes_on() -> None:
    class Denying(AgedStore):
        async def delete_versions(self, prefix: str) -> None:
            raise StoreDenied("no right to versions")

    from coatcheck import MemoryStore  # noqa: PLC0415 - one test of this file needs it

    store = Denying(MemoryStore())
    await chain_on(store).encode(secrets.token_bytes(900), scope_of("dead"))
    report = await swept_twice(sweep_of(store, Live()), store)
    assert (report.deleted, report.versions_left) == (1, True)


@pytest.fixture
def gcs_bucket(gcs_server: GCSServer) -> str:
    name = f"versions-{secrets.token_hex(6)}"
    asked = UrlRequest(  # noqa: S310 - the server on loopback
        f"{gcs_server.endpoint}/storage/v1/b?project=tests",
        data=json.dumps({"name": name, "versioning": {"enabled": True}}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urlopen(asked, timeout=10):  # noqa: S310
        return name


@pytest.fixture
async def gcs(gcs_server: GCSServer, gcs_bucket: str) -> AsyncIterator[GCSStore]:
    store = GCSStore(gcs_bucket, "prod", endpoint_url=gcs_server.endpoint)
    yield store
    await store.close()


def generations(server: GCSServer, store: GCSStore, prefix: str = "") -> list[tuple[str, bool]]:
    """Name and whether it is current, of every generation."""
    url = f"{server.endpoint}/storage/v1/b/{store.bucket}/o?versions=true&prefix=prod/{prefix}"
    with urlopen(url, timeout=10) as answer:  # noqa: S310 - the server on loopback
        found = json.load(answer).get("items", [])
    return sorted((item["name"].removeprefix("prod/"), not item.get("timeDeleted")) for item in found)


async def test_gcs_deletes_what_is_not_current_and_nothing_else(gcs: GCSStore, gcs_server: GCSServer) -> None:
    for key in (f"{SCOPE}kept", f"{SCOPE}gone", f"{OTHER}gone"):
        await gcs.create(key, b"1")
        await gcs.replace(key, b"2")
    await gcs.delete(f"{SCOPE}gone")
    await gcs.delete(f"{OTHER}gone")
    assert len(generations(gcs_server, gcs, SCOPE)) == 4
    await gcs.delete_versions(SCOPE)
    assert generations(gcs_server, gcs, SCOPE) == [(f"{SCOPE}kept", True)]
    assert await gcs.get(f"{SCOPE}kept") == b"2"
    assert len(generations(gcs_server, gcs, OTHER)) == 2


async def test_a_sweep_leaves_no_generation_in_gcs(gcs: GCSStore, gcs_server: GCSServer) -> None:
    await swept(gcs)
    assert [key for key, _ in generations(gcs_server, gcs) if ORIGIN not in key] == []
