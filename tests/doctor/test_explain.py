"""What is said of envelopes and references without a key."""

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck import Chain, FormatError, MemoryStore, Offload, PayloadCache, Reference, Scope, Zstd
from coatcheck.doctor.explain import explain
from coatcheck.format.wire import MAGIC
from tests.chains import KEY, SCOPE, encrypted_chain, plain_chain

LARGE = b"The same words again and again. " * 100


async def reference(chain: Chain | None = None, scope: Scope = SCOPE) -> Reference:
    return await (chain or encrypted_chain()).put(LARGE, scope)


def payload(data: bytes, **metadata: bytes) -> bytes:
    encoded = {name: base64.b64encode(value).decode() for name, value in metadata.items()}
    return json.dumps({"metadata": encoded, "data": base64.b64encode(data).decode()}).encode()


async def test_a_reference() -> None:
    ref = await reference()
    assert explain(ref.to_bytes()) == {
        "kind": "reference",
        "format version": 1,
        "suite": "1: AES-256-GCM, HKDF-SHA512, committed",
        "key": KEY.id.hex(),
        "run tag": ref.run_tag.hex(),
        "payload bytes": len(LARGE),
        "bytes": len(ref.to_bytes()),
        "store": "default",
        "object": ref.object_id.hex(),
        "bases": [],
        "MAC": ref.mac.hex(),
        "verified": "no: checking the MAC needs the key",
        "text": ref.to_text(),
    }


async def test_the_bases_of_a_delta_are_named() -> None:
    chain = Chain(Zstd(), Offload(MemoryStore()), cache=PayloadCache(2**20))
    text = b"".join(f"line {n * 7919 % 10007}\n".encode() for n in range(4000))
    first = await chain.put(text, SCOPE)
    second = await chain.put(text + b"and one more", SCOPE)
    assert explain(second.to_bytes())["bases"] == [first.object_id.hex()]


async def test_an_envelope() -> None:
    sealed = await encrypted_chain(over=10_000).encode(LARGE, SCOPE)
    facts = explain(sealed)
    assert (facts["kind"], facts["codecs"]) == ("envelope", ["zstd"])
    assert (facts["payload bytes"], facts["bytes"]) == (len(LARGE), len(sealed))


async def test_without_keys_and_without_a_run() -> None:
    facts = explain((await reference(plain_chain(), Scope("tenant-a"))).to_bytes())
    assert facts["suite"] == "0: unsealed"
    assert facts["key"] == "none"
    assert facts["run tag"] == "none: it belongs to the whole tenant"


async def test_every_way_to_write_it_says_the_same() -> None:
    ref = await reference()
    data = ref.to_bytes()
    facts = explain(data)
    for text in (
        ref.to_text().encode(),
        base64.b64encode(data) + b"\n",
        base64.urlsafe_b64encode(data),
        data.hex().encode(),
        data.hex().upper().encode(),
    ):
        assert explain(text) == facts


async def test_a_temporal_payload() -> None:
    ref = await reference()
    found = explain(payload(ref.to_bytes(), encoding=b"binary/coatcheck"))
    assert found == {"found in": "a Temporal payload", **explain(ref.to_bytes())}


async def test_a_native_reference_of_ours() -> None:
    native = pytest.importorskip("coatcheck.integrations.temporal.native")
    json_format = pytest.importorskip("google.protobuf.json_format")
    ref = await reference()
    found = explain(json_format.MessageToJson(native.to_native(ref)).encode())
    assert found == {
        "found in": "Temporal's reference to external storage, driver coatcheck",
        "external bytes": len(LARGE),
        **explain(ref.to_bytes()),
    }


def test_a_native_reference_of_another_driver() -> None:
    claim = {"driverName": "s3", "claimData": {"bucket": "b", "key": "k"}}
    kind = b"temporal.api.sdk.v1.ExternalStorageReference"
    found = explain(payload(json.dumps(claim).encode(), encoding=b"json/protobuf", messageType=kind))
    assert found == {
        "found in": "Temporal's reference to external storage, driver s3",
        "claim bucket": "b",
        "claim key": "k",
    }


def test_a_payload_of_somebody_else() -> None:
    assert explain(payload(b'"hello"', encoding=b"json/plain")) == {
        "kind": "Temporal payload, not from coatcheck",
        "encoding": "json/plain",
        "data bytes": 7,
    }


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"hunter2",
        b"{}",
        b'{"metadata": {}, "data": "hunter2!"}',
        b'{"metadata": [], "data": ""}',
        b'{"metadata": {"encoding": 3}}',
        b"{" * 100_000,
        b'{"a":' * 50_000,
        MAGIC,
        MAGIC + b"\x09" + bytes(80),
        MAGIC.hex().encode(),
        "wKfE7é".encode(),
        payload(b"[]", messageType=b"temporal.api.sdk.v1.ExternalStorageReference"),
    ],
    ids=range(13),
)
def test_what_is_none_of_these_is_refused_and_not_repeated(given: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        explain(given)
    assert "hunter2" not in str(caught.value)


@given(st.binary(max_size=200), st.sampled_from([b"", MAGIC, MAGIC + b"\x01\x01", MAGIC + b"\x01\x02", b"{"]))
def test_any_bytes_are_explained_or_refused(rest: bytes, start: bytes) -> None:
    with suppress(FormatError):
        assert explain(start + rest)


async def test_a_suite_of_later_days_is_named_by_its_number() -> None:
    data = bytearray((await reference(Chain(Zstd(), Offload(MemoryStore())))).to_bytes())
    data[6] = 7
    assert explain(bytes(data))["suite"] == "7: unknown to this release"
