"""Chains, scopes and keys that tests share. Deterministic: the keys are made of fixed bytes."""

from coatcheck import (
    Chain,
    Checkpoint,
    Checkpoints,
    Codec,
    Encrypt,
    FormatError,
    Key,
    Keyring,
    MemoryStore,
    Offload,
    PayloadCache,
    Scope,
    Sealing,
    Zstd,
)

KEY = Key(bytes(range(32)))
OTHER_KEY = Key(bytes(range(32, 64)))
SCOPE = Scope("tenant-a", "run-1")


class Reverse(Codec):
    """A codec of a third party: turns the bytes round."""

    name = "reverse"

    def encode(self, data: bytes) -> bytes | None:
        return data[::-1]

    def decode(self, data: bytes | memoryview, limit: int) -> bytes:
        if len(data) > limit:
            raise FormatError("too long")
        return bytes(data[::-1])

    def __repr__(self) -> str:
        return "Reverse()"


def encrypted_chain(store: MemoryStore | None = None, over: int = 256, *, accept_plain: bool = True) -> Chain:
    """Compress, encrypt, offload above ``over`` bytes."""
    return Chain(
        Zstd(),
        Encrypt(Keyring(KEY), accept_plain=accept_plain),
        Offload(store or MemoryStore(), over=over),
        cache=PayloadCache(0),
    )


def plain_chain(store: MemoryStore | None = None, over: int = 256) -> Chain:
    """Compress and offload above ``over`` bytes."""
    return Chain(Zstd(), Offload(store or MemoryStore(), over=over), cache=PayloadCache(0))


CODECS: list[tuple[Codec, ...]] = [
    (),
    (Zstd(),),
    (Reverse(),),
    (Zstd(), Reverse()),
    (Reverse(), Zstd()),
    (Zstd(), Zstd()),
]
SEALINGS: list[tuple[Sealing, ...]] = [(), (Encrypt(Keyring(KEY)),)]


async def keys_in(store: MemoryStore) -> list[str]:
    """Every key in the store, sorted."""
    return sorted([entry.key async for entry in store.list_objects()])


async def history(checkpoints: Checkpoints) -> list[Checkpoint]:
    """Every checkpoint that can be read, the oldest first."""
    return [found async for found in checkpoints.history()][::-1]
