import socket
import traceback
from collections.abc import Awaitable, Callable
from urllib.parse import quote_plus

import pytest

from coatcheck.contracts.store import StoredObject
from coatcheck.errors import (
    CoatcheckError,
    ConfigError,
    LimitExceeded,
    PayloadNotFound,
    StoreDenied,
    StoreUnavailable,
)
from coatcheck.stores.s3 import S3Store
from tests.engines.fault_proxy import Fault, FaultProxy
from tests.engines.responder import responding, xml_error
from tests.stores.s3_fixtures import REGION, Bucket, NewStore, session_of

Operation = Callable[[S3Store], Awaitable[object]]


async def _list(store: S3Store) -> list[StoredObject]:
    return [found async for found in store.list_objects()]


_OPERATIONS: dict[str, Operation] = {
    "create": lambda store: store.create("t/s/o", b"new"),
    "replace": lambda store: store.replace("t/s/o", b"new"),
    "get": lambda store: store.get("t/s/o"),
    "delete": lambda store: store.delete("t/s/o"),
    "list": _list,
}
_WRITES = ("create", "replace", "delete")

all_operations = pytest.mark.parametrize("operation", _OPERATIONS.values(), ids=_OPERATIONS)


@all_operations
async def test_missing_bucket(bucket: Bucket, new_store: NewStore, operation: Operation) -> None:
    with pytest.raises(ConfigError, match="no bucket 'not-there'"):
        await operation(new_store(bucket="not-there"))
    assert "not-there" not in [found.get("Name") for found in bucket.client.list_buckets()["Buckets"]]


@all_operations
@pytest.mark.parametrize("access_key", [None, "nobody"])
async def test_wrong_credentials(
    bucket: Bucket, new_store: NewStore, operation: Operation, access_key: str | None
) -> None:
    session = session_of(access_key or bucket.server.access_key, "wrong")
    store = new_store(session=session)
    with pytest.raises(StoreDenied, match=r"403 (SignatureDoesNotMatch|InvalidAccessKeyId)"):
        await operation(store)
    assert bucket.keys(store.prefix) == []


async def test_reader_may_read_only(bucket: Bucket, new_store: NewStore) -> None:
    server = bucket.server
    store = new_store()
    await store.create("t/s/o", b"old")
    reader = new_store(session=session_of(server.reader_access_key, server.reader_secret_key))
    for name in _WRITES:
        with pytest.raises(StoreDenied, match="403 AccessDenied"):
            await _OPERATIONS[name](reader)
    assert await reader.get("t/s/o") == b"old"
    with pytest.raises(PayloadNotFound):
        await reader.get("t/s/missing")
    assert bucket.keys(store.prefix) == [f"{store.prefix}t/s/o"]


@all_operations
async def test_nobody_listens(new_store: NewStore, operation: Operation) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        store = new_store(f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(StoreUnavailable, match="refused"):
            await operation(store)


@all_operations
async def test_no_such_host(new_store: NewStore, operation: Operation) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be resolved"):
        await operation(new_store("http://s3.invalid"))


@pytest.mark.parametrize(
    ("fault", "says"),
    [(Fault.BUSY, "503 SlowDown"), (Fault.RESET, "reset"), (Fault.LOST_ACKNOWLEDGEMENT, "without an answer")],
)
@all_operations
async def test_fault_on_the_way(
    bucket: Bucket, new_store: NewStore, operation: Operation, fault: Fault, says: str
) -> None:
    async with FaultProxy(bucket.server.endpoint, lambda _: fault) as proxy:
        with pytest.raises(StoreUnavailable, match=says):
            await operation(new_store(proxy.endpoint))
        # aiohttp asks once more for what changes nothing where the connection ended; a write is never repeated.
        methods = [request.method for request, _ in proxy.record]
        assert methods == methods[:1] or (
            fault is not Fault.BUSY and methods in (["GET"] * 2, ["DELETE"] * 2)
        )


async def test_truncated_body(bucket: Bucket, new_store: NewStore) -> None:
    async with FaultProxy(bucket.server.endpoint, lambda _: Fault.TRUNCATED) as proxy:
        await new_store().create("o", bytes(100_000))
        with pytest.raises(StoreUnavailable, match="in the middle of its answer"):
            await new_store(proxy.endpoint).get("o")


async def test_lost_acknowledgement_is_found_by_the_next_try(bucket: Bucket, new_store: NewStore) -> None:
    faults = [Fault.LOST_ACKNOWLEDGEMENT, Fault.NONE, Fault.NONE]
    async with FaultProxy(bucket.server.endpoint, lambda _: faults.pop(0)) as proxy:
        store = new_store(proxy.endpoint)
        with pytest.raises(StoreUnavailable):
            await store.create("o", b"payload")
        assert await store.create("o", b"payload") is False
        assert await store.get("o") == b"payload"


_MESSAGE = "<Message>As documented.</Message>"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "ExpiredToken", StoreDenied),
        (400, "InvalidToken", StoreDenied),
        (400, "TokenRefreshRequired", StoreDenied),
        (400, "AuthorizationHeaderMalformed", StoreDenied),
        (401, "Unauthorized", StoreDenied),
        (403, "AccessDenied", StoreDenied),
        (403, "RequestTimeTooSkewed", StoreDenied),
        (403, "InvalidObjectState", StoreDenied),
        (400, "BadDigest", StoreUnavailable),
        (400, "RequestTimeout", StoreUnavailable),
        (409, "ConditionalRequestConflict", StoreUnavailable),
        (409, "OperationAborted", StoreUnavailable),
        (429, "TooManyRequests", StoreUnavailable),
        (500, "InternalError", StoreUnavailable),
        (502, "", StoreUnavailable),
        (503, "ServiceUnavailable", StoreUnavailable),
        (503, "SlowDown", StoreUnavailable),
        (400, "KMS.DisabledException", ConfigError),
        (400, "InvalidBucketName", ConfigError),
        (400, "SlowDown", StoreUnavailable),
        (400, "ThrottlingException", StoreUnavailable),
        (400, "RequestLimitExceeded", StoreUnavailable),
        (400, "EntityTooLarge", LimitExceeded),
        (413, "EntityTooLarge", LimitExceeded),
        (413, "", LimitExceeded),
        (404, "NoSuchBucket", ConfigError),
        (501, "NotImplemented", ConfigError),
    ],
)
@all_operations
async def test_documented_answer(
    operation: Operation, status: int, code: str, kind: type[CoatcheckError]
) -> None:
    async with responding(status, xml_error(code, _MESSAGE)) as endpoint:
        with pytest.raises(CoatcheckError) as raised:
            await operation(_store(endpoint))
    assert type(raised.value) is kind
    if code != "NoSuchBucket":
        assert f"{status} {code}".strip() in raised.value.what


async def test_conflict_is_no_proof_of_an_object() -> None:
    """S3: a create that meets a delete gets 409, and there may be nothing."""
    async with responding(409, xml_error("ConditionalRequestConflict")) as endpoint:
        with pytest.raises(StoreUnavailable):
            await _store(endpoint).create("o", b"1")
    async with responding(412, xml_error("PreconditionFailed")) as endpoint:
        assert await _store(endpoint).create("o", b"1") is False


async def test_redirect_of_a_new_bucket() -> None:
    headers = {"Location": "http://127.0.0.1:1/"}
    async with responding(307, xml_error("TemporaryRedirect"), headers) as endpoint:
        with pytest.raises(StoreUnavailable):
            await _store(endpoint).create("o", b"1")


async def test_missing_object_without_leave_to_list() -> None:
    """S3 calls it denied then, and so do we, saying why."""
    async with responding(403, xml_error("AccessDenied")) as endpoint:
        with pytest.raises(StoreDenied) as raised:
            await _store(endpoint).get("o")
    assert raised.value.object_id == "o"


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (301, xml_error("PermanentRedirect"), {"x-amz-bucket-region": "eu-west-3"}),
        (400, xml_error("AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>"), {}),
        (400, xml_error("IllegalLocationConstraintException"), {"x-amz-bucket-region": "eu-west-3"}),
    ],
)
@all_operations
async def test_wrong_region(operation: Operation, status: int, body: str, headers: dict[str, str]) -> None:
    async with responding(status, body, headers) as endpoint:
        with pytest.raises(ConfigError, match=f"is in eu-west-3, not in {REGION}"):
            await operation(_store(endpoint))


async def test_wrong_region_that_is_not_told() -> None:
    async with responding(301, xml_error("PermanentRedirect")) as endpoint:
        with pytest.raises(ConfigError, match=f"not in {REGION}. Look up its region"):
            await _store(endpoint).get("o")


async def test_foreign_key_below_the_prefix_ended_a_listing() -> None:
    async with responding(200, _listing("prod//x", "prod/a b", "prod/k")) as endpoint:
        store = _store(endpoint)
        assert [found.key async for found in store.list_objects()] == ["/x", "a b", "k"]


def _listing(*keys: str, prefix: str = "prod/", more: str = "<IsTruncated>false</IsTruncated>") -> str:
    entries = "".join(
        f"<Contents><Key>{quote_plus(key)}</Key><Size>1</Size>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        for key in keys
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>payloads</Name><Prefix>{prefix}</Prefix>{more}{entries}</ListBucketResult>"
    )


async def test_listing_of_something_else_was_taken() -> None:
    for body in (
        "",
        "<html><body>Sign in</body></html>",
        "{}",
        _listing("prod/k").replace("ListBucketResult", "ListAllMyBucketsResult"),
        _listing("prod/k").replace("<Name>payloads", "<Name>others"),
        _listing("other/k", prefix="other/"),
        _listing("prod/k", more="<IsTruncated>true</IsTruncated>"),
        _listing("prod/k").replace("<Size>1<", "<Size>one<"),
        "<!DOCTYPE x>" + _listing("prod/k"),
    ):
        async with responding(200, body, {"x-amz-request-id": "1"}) as endpoint:
            with pytest.raises(StoreUnavailable, match="something other than S3"):
                await _list(_store(endpoint))
            with pytest.raises(StoreUnavailable, match="something other than S3"):
                await _store(endpoint).list_first("", 1)


async def test_first_of_a_listing_by_folders() -> None:
    async with responding(200, _listing("prod/a/1", "prod/a/2", "prod/a-b/1", "prod/c")) as endpoint:
        store = _store(endpoint)
        assert [found.key for found in await store.list_first("", 2)] == ["a-b/1", "a/1"]
        assert [found.key for found in await _list(store)] == ["a/1", "a/2", "a-b/1", "c"]
        await store.close()


@pytest.mark.parametrize("keys", [("b", "a", "c"), ("a", "a"), ("d/1", "d/3", "d/2")])
async def test_a_service_that_lists_in_no_order_made_objects_be_skipped(keys: tuple[str, ...]) -> None:
    async with responding(200, _listing(*(f"prod/{key}" for key in keys))) as endpoint:
        store = _store(endpoint)
        for listing in (_list(store), store.list_first("", 5)):
            with pytest.raises(ConfigError, match="in the order of their keys"):
                await listing
        await store.close()


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "AccessDenied", "Access Denied because object protected by object lock."),
        (400, "InvalidRequest", "Object is WORM protected and cannot be overwritten"),
    ],
)
async def test_locked_object_is_denied_and_named(status: int, code: str, message: str) -> None:
    async with responding(status, xml_error(code, f"<Message>{message}</Message>")) as endpoint:
        with pytest.raises(StoreDenied, match="locked until") as raised:
            await _store(endpoint).delete("t/s/o")
    assert raised.value.object_id == "t/s/o"


async def test_when_to_come_back() -> None:
    async with responding(503, xml_error("SlowDown"), {"Retry-After": "7"}) as endpoint:
        with pytest.raises(StoreUnavailable) as raised:
            await _store(endpoint).get("o")
    assert raised.value.retry_after == 7


async def test_answer_is_not_quoted() -> None:
    """S3 shows what it signed, the session token in it; that must not get into logs."""
    quoted = "<CanonicalRequest>x-amz-security-token:SESSION-TOKEN</CanonicalRequest>"
    async with responding(403, xml_error("SignatureDoesNotMatch", _MESSAGE + quoted)) as endpoint:
        with pytest.raises(StoreDenied) as raised:
            await _store(endpoint).get("o")
    assert "SESSION-TOKEN" not in "".join(traceback.format_exception(raised.value))
    assert "As documented" in str(raised.value)


def _store(endpoint: str) -> S3Store:
    return S3Store("payloads", "prod", endpoint_url=endpoint, session=session_of("key", "secret"))
