"""Writes a new file of golden vectors: ``python -m tests.vectors.generate > tests/vectors/NEW.json``.

Files that are already here are never written again: they say what released versions wrote.
"""

import asyncio
import json
import sys
from typing import Any

from coatcheck import Chain, Encrypt, Key, Keyring, MemoryStore, Offload, PayloadCache, Scope, Zstd
from tests import reader

KEYRING_KEY = bytes(range(32))
PAYLOADS = {
    "empty": b"",
    "short text": "Grüße, 世界".encode(),
    "looks like an envelope": bytes.fromhex("c0a7c4ec0101010000"),
    "repetitive": b"the same line again\n" * 40,
    "every byte": bytes(range(256)),
}
SCOPES = [Scope("default"), Scope("default", "order-4711"), Scope("mandant-é", "läufe/7")]


LONGER = b"".join(n.to_bytes(4, "big") for n in range(300))
GROWING = [
    LONGER,
    LONGER + b"second turn",
    LONGER + b"second turn, third turn",
    LONGER + b"second turn, third, fourth",
]


async def deltas(scope: Scope, key: bytes | None) -> list[dict[str, Any]]:
    """Payloads of which each builds on one before; the objects of the last vectors hold those of the first."""
    store = MemoryStore()
    sealing = (Encrypt(Keyring(Key(key))),) if key else ()
    chain = Chain(Zstd(), *sealing, Offload(store, over=0, alias="vectors"), cache=PayloadCache(2**20))
    vectors = []
    for number, payload in enumerate(GROWING):
        journal = await chain.encode(payload, scope)
        objects = {entry.key: (await store.get(entry.key)).hex() async for entry in store.list_objects()}
        vectors.append(
            {
                "name": f"delta {number}",
                "tenant": scope.tenant,
                "run": scope.run,
                "keyring_key": key.hex() if key else None,
                "over": 0,
                "payload": payload.hex(),
                "derived": {
                    k: v.hex() for k, v in reader.intermediates(key, scope.tenant, scope.run).items()
                },
                "journal": journal.hex(),
                "objects": objects,
            }
        )
    return vectors


async def vector(
    name: str, payload: bytes, scope: Scope, key: bytes | None, over: int | None
) -> dict[str, Any]:
    """One vector: what went in, every derived value, and what came out."""
    store = MemoryStore()
    sealing = (Encrypt(Keyring(Key(key))),) if key else ()
    offload = (Offload(store, over=over, alias="vectors"),) if over is not None else ()
    journal = await Chain(Zstd(), *sealing, *offload).encode(payload, scope)
    objects = {entry.key: (await store.get(entry.key)).hex() async for entry in store.list_objects()}
    return {
        "name": name,
        "tenant": scope.tenant,
        "run": scope.run,
        "keyring_key": key.hex() if key else None,
        "over": over,
        "payload": payload.hex(),
        "derived": {k: v.hex() for k, v in reader.intermediates(key, scope.tenant, scope.run).items()},
        "journal": journal.hex(),
        "objects": objects,
    }


async def main() -> None:
    """Every payload in every scope, with and without keys, inline and offloaded."""
    vectors = [
        await vector(name, payload, scope, key, over)
        for key in (None, KEYRING_KEY)
        for scope in SCOPES
        for over in (None, 0)
        for name, payload in PAYLOADS.items()
    ]
    for key in (None, KEYRING_KEY):
        vectors += await deltas(SCOPES[1], key)
    json.dump(vectors, sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    asyncio.run(main())
