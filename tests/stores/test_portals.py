"""Something between the store and its service answers in its place: no operation takes that for the service's answer."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import pytest

from coatcheck.contracts.store import Store
from coatcheck.errors import CoatcheckError, ConfigError, LimitExceeded, PayloadNotFound, StoreError
from coatcheck.stores.gcs import GCSStore
from tests.engines.fault_proxy import Fault, Request, _Upstream
from tests.engines.gcs import GCSServer
from tests.engines.portal import Portal, page
from tests.stores.s3_fixtures import Bucket, NewStore
from tests.stores.test_fault_matrix import gcs

_LOGIN = "<html><body>Sign in to go on</body></html>"
_KEY = "t/s/o"


async def _list(store: Store) -> object:
    return [found async for found in store.list_objects()]


_OPERATIONS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "create": lambda store: store.create(_KEY, b"new"),
    "replace": lambda store: store.replace(_KEY, b"new"),
    "get": lambda store: store.get(_KEY),
    "delete": lambda store: store.delete(_KEY),
    "list": _list,
    "list_first": lambda store: store.list_first("", 1),
    "delete_versions": lambda store: store.delete_versions(""),
}
_ETAG = f'"{hashlib.md5(b"another").hexdigest()}"'  # noqa: S324 - what S3 calls an object by
_PAGES = {
    "login page": page(200, _LOGIN, Content_Type="text/html"),
    "login page with an ETag": page(200, _LOGIN, Content_Type="text/html", ETag=_ETAG),
    "plain page with an ETag": page(200, _LOGIN, ETag=_ETAG),
    "page that looks like Amazon's": page(
        200, _LOGIN, Content_Type="text/html", ETag=_ETAG, x_amz_request_id="1"
    ),
    "empty page": page(200),
    "no content": page(204),
    "accepted": page(202),
    "not found": page(404, _LOGIN, Content_Type="text/html"),
    "nothing found": page(404),
    "precondition": page(412, _LOGIN, Content_Type="text/html"),
    "bare precondition": page(412),
    "not modified": page(304),
}

all_operations = pytest.mark.parametrize("operation", _OPERATIONS)


@pytest.fixture(params=["s3", "gcs"])
def endpoint(request: pytest.FixtureRequest, bucket: Bucket, gcs_server: GCSServer) -> str:
    return bucket.server.endpoint if request.param == "s3" else gcs_server.endpoint


@pytest.fixture
def at(endpoint: str, bucket: Bucket, new_store: NewStore, gcs_server: GCSServer) -> Callable[[str], Store]:
    """Makes a store of the kind at another address."""
    if endpoint == bucket.server.endpoint:
        return lambda address: new_store(address, timeout=5)
    direct = gcs(gcs_server).direct()
    assert isinstance(direct, GCSStore)
    return lambda address: GCSStore(direct.bucket, endpoint_url=address, timeout=5)


@all_operations
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_was_followed(
    endpoint: str, at: Callable[[str], Store], operation: str, status: int
) -> None:
    """PUT became GET, the page gave 200 with an ETag, and the payload was gone."""

    def says(request: Request) -> bytes | None:
        if request.target.startswith("/login"):
            return page(200, _LOGIN, ETag=_ETAG, x_amz_request_id="1")
        return page(status, "", Location=f"{proxy.endpoint}/login?secret=1")

    async with Portal(endpoint, says) as proxy:
        store = at(proxy.endpoint)
        with pytest.raises((ConfigError, StoreError)) as raised:
            await _OPERATIONS[operation](store)
        assert not [request.target for request, _ in proxy.record if request.target.startswith("/login")]
        assert "secret" not in str(raised.value)
        await store.close()


@all_operations
@pytest.mark.parametrize("said", _PAGES)
async def test_a_page_was_taken_for_the_answer(
    endpoint: str, at: Callable[[str], Store], operation: str, said: str
) -> None:
    direct = at(endpoint)
    await direct.create(_KEY, b"old")
    async with Portal(endpoint, lambda _: _PAGES[said]) as proxy:
        store = at(proxy.endpoint)
        with pytest.raises(CoatcheckError) as raised:
            await _OPERATIONS[operation](store)
        assert not isinstance(raised.value, PayloadNotFound)
        await store.close()
    assert await direct.get(_KEY) == b"old"
    await direct.close()


@pytest.mark.parametrize("operation", ["create", "replace"])
async def test_a_gateway_that_takes_no_more_is_a_limit(
    endpoint: str, at: Callable[[str], Store], operation: str
) -> None:
    async with Portal(endpoint, lambda _: page(413, _LOGIN, Content_Type="text/html")) as proxy:
        store = at(proxy.endpoint)
        with pytest.raises(LimitExceeded, match="413"):
            await _OPERATIONS[operation](store)
        await store.close()


async def test_a_service_without_headers_of_its_own_is_believed_by_what_it_says(
    bucket: Bucket, new_store: NewStore
) -> None:
    """Gateways strip what they do not know: then a checksum, or the object's absence, is the proof."""
    async with _Stripped(bucket.server.endpoint, lambda _: None) as proxy:
        store = new_store(proxy.endpoint)
        assert await store.create(_KEY, b"payload") is True
        assert await store.create(_KEY, b"another") is False
        assert await store.get(_KEY) == b"payload"
        assert [found.key async for found in store.list_objects()] == [_KEY]
        await store.delete(_KEY)
        assert [request.method for request, _ in proxy.record][-2:] == ["DELETE", "GET"]
        with pytest.raises(PayloadNotFound):
            await store.get(_KEY)


class _Stripped(Portal):
    """Takes every header of Amazon's out of what the server answers."""

    async def _answer(
        self,
        request: Request,
        fault: Fault,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: _Upstream,
    ) -> bool:
        return await super()._answer(request, fault, reader, writer, _StrippedUpstream(server))


class _StrippedUpstream(_Upstream):
    def __init__(self, server: _Upstream) -> None:
        self._server = server

    async def ask(self, request: Request) -> tuple[bytes, bytes]:
        head, body = await self._server.ask(request)
        return b"\r\n".join(
            line for line in head.split(b"\r\n") if not line.lower().startswith(b"x-amz-")
        ), body
