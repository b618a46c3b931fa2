"""Golden vectors: this release reads, and writes, what version 1 is; a second reader agrees on every byte."""

import json
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from coatcheck import Chain, Encrypt, Key, Keyring, MemoryStore, Offload, PayloadCache, Scope, Zstd
from tests import reader

VECTORS: list[dict[str, Any]] = [
    vector
    for path in sorted(Path(__file__).parent.glob("vectors/*.json"))
    for vector in json.loads(path.read_text())
]
CASES = pytest.mark.parametrize(
    "vector",
    VECTORS,
    ids=lambda v: f"{v['name']}-{v['tenant']}-{v['run']}-{bool(v['keyring_key'])}-{v['over']}",
)


def test_there_are_vectors() -> None:
    assert len(VECTORS) >= 60


async def chain_of(vector: dict[str, Any]) -> Chain:
    store = MemoryStore()
    for key, data in vector["objects"].items():
        await store.create(key, bytes.fromhex(data))
    key = vector["keyring_key"]
    sealing = (Encrypt(Keyring(Key(bytes.fromhex(key)))),) if key else ()
    over = 2**40 if vector["over"] is None else vector["over"]
    return Chain(Zstd(), *sealing, Offload(store, over=over, alias="vectors"), cache=PayloadCache(0))


@CASES
async def test_the_library_reads_it(vector: dict[str, Any]) -> None:
    chain = await chain_of(vector)
    scope = Scope(vector["tenant"], vector["run"])
    assert await chain.decode(bytes.fromhex(vector["journal"]), scope) == bytes.fromhex(vector["payload"])


@CASES
async def test_the_library_writes_it(vector: dict[str, Any]) -> None:
    """Where an object is there already, whatever its compressor made of it, the reference is the same for ever."""
    chain = await chain_of(vector)
    scope = Scope(vector["tenant"], vector["run"])
    journal = await chain.encode(bytes.fromhex(vector["payload"]), scope)
    if vector["over"] is None and b"\x04zstd" in bytes.fromhex(vector["journal"])[:40]:
        # Another version of Zstandard may compress to other bytes.
        assert await chain.decode(journal, scope) == bytes.fromhex(vector["payload"])
    else:
        assert journal.hex() == vector["journal"]


@CASES
def test_a_second_reader_agrees(vector: dict[str, Any]) -> None:
    key = bytes.fromhex(vector["keyring_key"]) if vector["keyring_key"] else None
    values = reader.intermediates(key, vector["tenant"], vector["run"])
    assert {name: value.hex() for name, value in values.items()} == vector["derived"]
    payload, journal = bytes.fromhex(vector["payload"]), bytes.fromhex(vector["journal"])
    objects = {name: bytes.fromhex(data) for name, data in vector["objects"].items()}
    if journal == payload:
        return
    parsed = reader.parse(journal)
    context = b"\x00"
    if parsed.kind == 2:
        assert parsed.mac == reader.reference_mac(parsed, values)
        assert parsed.store == "vectors"
        assert parsed.object_id == blake3(payload, key=values["address_key"]).digest()
        context, journal = b"\x01" + parsed.object_id, objects[reader.object_key(parsed, values)]
        assert reader.parse(journal).bases == parsed.bases
    assert reader.payload_of(journal, context, values, objects) == payload


def test_there_are_vectors_of_deltas_of_every_depth() -> None:
    depths = {
        len(reader.parse(bytes.fromhex(vector["journal"])).bases)
        for vector in VECTORS
        if vector["name"].startswith("delta")
    }
    assert depths == {0, 1, 2}
