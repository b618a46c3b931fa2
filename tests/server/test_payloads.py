"""What is decoded, downloaded and encoded, and for whom."""

import asyncio
import random

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.converter import JSONProtoPayloadConverter

from coatcheck import (
    Chain,
    Encrypt,
    Keyring,
    MemoryStore,
    Offload,
    PayloadCache,
    Scope,
    StoreUnavailable,
    Zstd,
)
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.format.reference import Reference
from coatcheck.integrations.temporal import ENCODING, ClaimCheckCodec, Mode, from_native
from tests.chains import KEY, OTHER_KEY, encrypted_chain, keys_in, plain_chain
from tests.server.serving import (
    JSON,
    NAMESPACE,
    SCOPE,
    Serving,
    from_json,
    plain,
    said,
    sealed,
    serving,
    to_json,
)

_random = random.Random(7)
SMALL, MIDDLE, LARGE = b'"small"', _random.randbytes(10_000), _random.randbytes(100_000)
OVER = 20_000
MODES: list[Mode] = ["codec", "native"]


class Watched(MemoryStore):
    """Counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.gets = 0
        self.down = False

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        self.gets += 1
        if self.down:
            raise StoreUnavailable("down")
        return await super().get(key, limit)


@pytest.mark.parametrize("mode", MODES)
async def test_decode(mode: Mode) -> None:
    store = MemoryStore()
    payloads = [*await sealed(encrypted_chain(store), SMALL, MIDDLE, LARGE, mode=mode), plain(b"not ours")]
    with serving(encrypted_chain(store), download_over=OVER) as server:
        for path in ("/decode", f"/{NAMESPACE}/decode", "/decode?preserveStorageRefs=false"):
            assert server.decode(payloads, path) == [*map(plain, (SMALL, MIDDLE, LARGE)), plain(b"not ours")]
        assert server.decode([]) == []


@pytest.mark.parametrize("mode", MODES)
async def test_large_ones_are_offered_for_download(mode: Mode) -> None:
    store = Watched()
    payloads = await sealed(encrypted_chain(store), SMALL, MIDDLE, LARGE, mode=mode)
    with serving(encrypted_chain(store), download_over=OVER) as server:
        small, middle, large = server.decode(payloads, "/decode?preserveStorageRefs=true")
        assert small == plain(SMALL)
        assert middle == (plain(MIDDLE) if mode == "codec" else payloads[1])
        assert from_native(large) is not None
        assert [part.size_bytes for part in large.external_payloads] == [
            len(plain(LARGE).SerializeToString())
        ]
        assert mode == "codec" or store.gets == 0
        # The web UI sends what stood in the history; what it was shown will do as well.
        for asked in (payloads[2], large):
            assert server.decode([asked], "/download?preserveStorageRefs=true") == [plain(LARGE)]


async def test_what_is_not_ours_is_no_download() -> None:
    foreign = JSONProtoPayloadConverter().to_payload(
        ExternalStorageReference(driver_name="temporal-s3", claim_data={"bucket": "b", "key": "k"})
    )
    assert foreign is not None
    with serving(encrypted_chain()) as server:
        for payload in (foreign, plain(b"1")):
            assert server.decode([payload]) == server.decode([payload], "/decode?preserveStorageRefs=true")
            assert server.decode([payload]) == [payload]
            assert server.post("/download", to_json([payload])).status_code == 400
        assert server.decode([], "/download") == []


async def test_encode_says_that_it_is_off(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "coatcheck.server")
    with serving(encrypted_chain()) as server:
        for path in ("/encode", f"/{NAMESPACE}/encode"):
            answer = server.post(path, to_json([plain(SMALL)]))
            assert answer.status_code == 403
            assert answer.json()["message"] == "This server does not encode: serve.encode is off."
            assert answer.json()["requestId"] in caplog.text
        assert "serve.encode is off" in caplog.text
        assert "/encode" not in server.get("/openapi.json").json()["paths"]


async def test_encode() -> None:
    store = MemoryStore()
    chain = encrypted_chain(store)
    with serving(chain, encode=True) as server:
        encoded = server.decode([plain(SMALL), plain(LARGE)], "/encode")
        assert server.decode(encoded) == [plain(SMALL), plain(LARGE)]
    assert len(await keys_in(store)) == 1
    # Whatever workflow the payload is given to can open it.
    opened = await ClaimCheckCodec(encrypted_chain(store), SCOPE).decode(encoded)
    assert opened == [plain(SMALL), plain(LARGE)]


async def test_the_namespace_has_to_be_named_once() -> None:
    with serving(encrypted_chain()) as server:
        body = to_json([plain(SMALL)])
        other = {**JSON, "X-Namespace": "tenant-b"}
        assert server.post("/decode", body, JSON).status_code == 400
        assert server.post(f"/{NAMESPACE}/decode", body, JSON).status_code == 200
        assert server.post("/tenant-b/decode", body, other).status_code == 200
        assert server.post(f"/{NAMESPACE}/decode", body, other).status_code == 400
        assert server.post("/prefix/tenant-b/decode", body, other).status_code == 404
        for name in ("", "a b", "a/b", "x" * 256):
            assert server.post("/decode", body, {**JSON, "X-Namespace": name}).status_code == 400
        assert server.post("/a%2Fb/decode", body, JSON).status_code == 404
        assert server.post("/a%0Ab/decode", body, JSON).status_code == 400


def altered(payload: Payload, **changes: object) -> Payload:
    reference = Reference.from_bytes(payload.data).model_copy(update=changes)
    return Payload(metadata={"encoding": ENCODING}, data=reference.to_bytes())


async def test_nothing_is_fetched_for_a_forged_reference() -> None:
    store = Watched()
    (genuine,) = await sealed(encrypted_chain(store), LARGE)
    forged = [
        altered(genuine, object_id=bytes(32)),
        altered(genuine, store="other"),
        altered(genuine, size=5),
        altered(genuine, bases=(bytes(32),)),
        altered(genuine, mac=bytes(16)),
        altered(genuine, key_id=bytes(4)),
        Payload(metadata={"encoding": ENCODING}, data=genuine.data + b"x"),
        Payload(metadata={"encoding": ENCODING}, data=b"/etc/passwd"),
        Payload(metadata={"encoding": ENCODING}),
    ]
    with serving(encrypted_chain(store)) as server:
        for payload in forged:
            assert server.post("/download", to_json([payload])).status_code == 400
        for placeholder in server.decode(forged):
            assert said(placeholder)["error"] in {
                "IntegrityError",
                "FormatError",
                "KeyUnavailable",
                "ConfigError",
            }
        # Another tenant's.
        assert server.post("/tenant-b/download", to_json([genuine]), JSON).status_code == 400
        (placeholder,) = from_json(server.post("/tenant-b/decode", to_json([genuine]), JSON))
        assert said(placeholder)["error"] == "IntegrityError"
        assert store.gets == 0
        assert server.decode([genuine]) == [plain(LARGE)]


async def broken(store: MemoryStore) -> dict[str, Payload]:
    """Payloads that do not open with the keys and the objects that are there, by the error."""
    gone, damaged = await sealed(encrypted_chain(store), LARGE, LARGE + b"x")
    (foreign,) = await sealed(encrypted_chain(store), SMALL, scope=Scope("tenant-b"))
    (unsealed,) = await sealed(plain_chain(), LARGE)
    (small,) = await sealed(encrypted_chain(), SMALL)
    other_key = Payload(metadata={"encoding": ENCODING}, data=small.data.replace(KEY.id, OTHER_KEY.id))
    for key in await keys_in(store):
        data = await store.get(key)
        await store.delete(key)
        if Reference.from_bytes(damaged.data).object_id.hex() in key:
            await store.create(key, data[:-1] + b"\0")
    return {
        "PayloadNotFound": gone,
        "IntegrityError": damaged,
        "IntegrityError of another tenant": foreign,
        "IntegrityError for want of a seal": unsealed,
        "KeyUnavailable": other_key,
        "FormatError": Payload(metadata={"encoding": ENCODING}),
        "FormatError of a native reference": native_without_reference(),
    }


def native_without_reference() -> Payload:
    message = ExternalStorageReference(driver_name="coatcheck", claim_data={"reference": "?"})
    payload = JSONProtoPayloadConverter().to_payload(message)
    assert payload is not None
    return payload


async def test_downloads_do_not_tell_why(caplog: pytest.LogCaptureFixture) -> None:
    """Forged, gone, of another tenant: the same answer, but for the request's number."""
    store = MemoryStore()
    seen = set()
    caplog.set_level("INFO", "coatcheck.server")
    payloads = await broken(store)
    with serving(encrypted_chain(store)) as server:
        for error, payload in payloads.items():
            if error == "KeyUnavailable":
                continue
            answer = server.post("/download", to_json([payload]))
            number = answer.json()["requestId"]
            assert answer.headers["x-request-id"] == number
            assert number in caplog.text
            body = answer.text.replace(number, "")
            headers = {
                name: value for name, value in answer.headers.items() if name not in {"date", "x-request-id"}
            }
            seen.add((answer.status_code, body, str(headers)))
    assert len(seen) == 1, seen
    assert {status for status, *_ in seen} == {400}
    for name in ("PayloadNotFound", "IntegrityError", "FormatError"):
        assert name in caplog.text


@pytest.mark.parametrize("path", ["/decode", "/decode?preserveStorageRefs=true"])
async def test_one_payload_that_does_not_open_hides_no_other(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    payloads = await broken(store)
    good = await sealed(encrypted_chain(store), SMALL, MIDDLE)
    caplog.set_level("INFO", "coatcheck.server")
    with serving(encrypted_chain(store)) as server:
        answer = server.post(path, to_json([good[0], *payloads.values(), plain(b"1"), good[1]]))
        metrics = server.get("/metrics").text
    assert answer.status_code == 200
    small, *placeholders, untouched, middle = from_json(answer)
    assert (small, untouched, middle) == (plain(SMALL), plain(b"1"), plain(MIDDLE))
    number = answer.headers["x-request-id"]
    for error, payload, placeholder in zip(payloads, payloads.values(), placeholders, strict=True):
        kind = error.partition(" ")[0]
        told = said(placeholder)
        assert told["error"] == kind
        assert told["request"] == number
        # Where it stands for the details of a failure, this is the failure's message.
        assert told["message"].startswith("coatcheck cannot show this payload: ")
        assert f"request={number} a payload cannot be decoded: {kind}" in caplog.text
        if kind != "FormatError":
            assert bytes.fromhex(told["key"]) in payload.data
        if kind == "PayloadNotFound":
            assert Reference.from_bytes(payload.data).object_id.hex() in told["object"]
    assert f"placeholders={len(payloads)}" in caplog.text
    assert 'coatcheck_codec_placeholders_total{error="PayloadNotFound"} 1.0' in metrics
    assert 'coatcheck_codec_placeholders_total{error="IntegrityError"} 3.0' in metrics


async def test_many_payloads_that_do_not_open_are_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "coatcheck.server")
    with serving(encrypted_chain()) as server:
        placeholders = server.decode([Payload(metadata={"encoding": ENCODING})] * 1000)
    assert {said(placeholder)["error"] for placeholder in placeholders} == {"FormatError"}
    ours = [record for record in caplog.records if record.name == "coatcheck.server"]
    assert len(ours) < 20
    assert "placeholders=1000" in caplog.text


async def test_a_store_that_is_down_is_said_to_be_worth_another_try() -> None:
    store = Watched()
    payloads = await sealed(encrypted_chain(store), LARGE, MIDDLE)
    (inline,) = await sealed(encrypted_chain(store), SMALL)
    store.down = True
    impatient = Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store, deadline=0.2), cache=PayloadCache(0))
    with serving(impatient) as server:
        assert server.post("/decode", to_json(payloads)).status_code == 503
        assert server.post("/decode", to_json([*payloads, plain(b"1")])).status_code == 503
        # What needs no store is shown all the same.
        *placeholders, opened = server.decode([*payloads, inline])
        assert opened == plain(SMALL)
        assert [said(placeholder)["error"] for placeholder in placeholders] == ["StoreUnavailable"] * 2
        assert "Try again." in said(placeholders[0])["message"]
        answer = server.post("/download", to_json([payloads[0], inline]))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        store.down = False
        assert server.decode(payloads) == [plain(LARGE), plain(MIDDLE)]


async def test_one_payload_that_takes_too_long_hides_no_other() -> None:
    class Slow(MemoryStore):
        async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
            await asyncio.Event().wait()
            return await super().get(key, limit)

    store = Slow()
    slow, inline = await sealed(encrypted_chain(store), LARGE, SMALL)
    with serving(encrypted_chain(store), timeout=0.5) as server:
        placeholder, opened = server.decode([slow, inline])
    assert opened == plain(SMALL)
    assert said(placeholder)["error"] == "StoreUnavailable"


async def test_the_log_holds_no_payload(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    store = MemoryStore()
    canary = b"CANARY" + LARGE
    payloads = await sealed(encrypted_chain(store), canary)
    with serving(encrypted_chain(store), encode=True) as server:
        server.decode([*payloads, plain(b"CANARY")])
        server.decode([plain(canary)], "/encode")
        server.post("/decode?CANARY=CANARY", b'{"payloads": [{"data": "CANARY!"}]}')
        server.post("/decode", b"CANARY", {**JSON, "X-Namespace": "x", "Authorization": "CANARY"})
        metrics = server.get("/metrics").text
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("http")]
    assert "CANARY" not in " ".join([*ours, metrics])
    assert NAMESPACE not in metrics
    assert any(line.startswith("decode request=") for line in ours)


async def test_what_nobody_expected_is_no_detail_either(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(*_: object, **__: object) -> bytes:
        raise RuntimeError(secret)

    secret = "SECRET"
    chain = encrypted_chain()
    payloads = await sealed(chain, SMALL)
    monkeypatch.setattr(chain, "open", fails)
    with serving(chain) as server:
        placeholder, untouched = server.decode([*payloads, plain(b"1")])
        answer = server.post("/download", to_json(payloads))
    assert said(placeholder)["error"] == "ServerFailed"
    assert untouched == plain(b"1")
    assert answer.status_code == 500
    assert secret not in answer.text + caplog.text + placeholder.data.decode()
    assert "RuntimeError" in caplog.text


async def test_health_metrics_and_description() -> None:
    with serving(encrypted_chain()) as server:
        assert server.get("/health").json() == {"status": "ok"}
        server.decode([plain(SMALL), plain(SMALL)])
        server.post("/decode", b"?")
        metrics = server.get("/metrics").text
        assert 'coatcheck_codec_requests_total{action="decode",status="200"} 1.0' in metrics
        assert 'coatcheck_codec_requests_total{action="decode",status="400"} 1.0' in metrics
        assert 'coatcheck_codec_payloads_total{action="decode"} 2.0' in metrics
        assert "coatcheck_codec_requests_in_progress 0.0" in metrics
        assert server.get("/openapi.json").json()["openapi"] == "3.1.0"
        assert server.get("/decode").status_code == 405
        assert server.get("/nothing").status_code == 404


async def test_a_chain_is_closed_with_the_server() -> None:
    closed = []

    class Closing(MemoryStore):
        async def close(self) -> None:
            closed.append(True)

    with serving(encrypted_chain(Closing())) as server:
        assert isinstance(server, Serving)
        assert not closed
    assert closed == [True]
