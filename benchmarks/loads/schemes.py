"""Four schemes to store a series of payloads."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from blake3 import blake3
from pyfastcdc import FastCDC

from benchmarks.loads.counted import Counted
from coatcheck import Chain, Encrypt, Key, Keyring, Offload, PayloadCache, Scope, Zstd
from coatcheck.runtime.concurrency import all_at_once

SCOPE = Scope("default", "workflow")
CACHE = 256 * 2**20
"""Bytes of cached payloads: the chain's default."""
_ID = 32
_CHUNK = 4096


class Scheme(ABC):
    """A scheme in one process. To read, another process needs only the journal and the store.

    Args:
        store: The store of the objects.
    """

    def __init__(self, store: Counted) -> None:
        self.store = store

    @abstractmethod
    async def write(self, payload: bytes) -> bytes:
        """Write a payload; return its journal entry."""

    @abstractmethod
    async def read(self, journal: bytes) -> bytes:
        """Return the payload of a journal entry."""

    async def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Cancel work in progress."""


class Whole(Scheme):
    """A scheme that stores each payload unchanged."""

    async def write(self, payload: bytes) -> bytes:
        """See :class:`Scheme`."""
        name = blake3(payload).digest()
        await self.store.create(name.hex(), payload)
        return name

    async def read(self, journal: bytes) -> bytes:
        """See :class:`Scheme`."""
        return await self.store.get(journal.hex())


class WholeZstd(Scheme):
    """A scheme that stores each payload in its own Zstandard frame."""

    def __init__(self, store: Counted) -> None:
        super().__init__(store)
        self._zstd = Zstd()

    async def write(self, payload: bytes) -> bytes:
        """See :class:`Scheme`."""
        name = blake3(payload).digest()
        await self.store.create(name.hex(), self._zstd.encode(payload) or payload)
        return len(payload).to_bytes(8) + name

    async def read(self, journal: bytes) -> bytes:
        """See :class:`Scheme`."""
        found, size = await self.store.get(journal[8:].hex()), int.from_bytes(journal[:8])
        return self._zstd.decode(found, size) if len(found) < size else found


class Chunked(WholeZstd):
    """A scheme of content-defined chunks, each an object that is written once; the journal lists them."""

    def __init__(self, store: Counted) -> None:
        super().__init__(store)
        self._known: set[bytes] = set()

    async def write(self, payload: bytes) -> bytes:
        """See :class:`Scheme`."""
        names = []
        new = []
        for chunk in FastCDC(avg_size=_CHUNK).cut_buf(payload):
            data = payload[chunk.offset : chunk.offset + chunk.length]
            names.append(blake3(data).digest())
            if names[-1] not in self._known:
                self._known.add(names[-1])
                new.append(self.store.create(names[-1].hex(), self._zstd.encode(data) or data))
        await all_at_once(new)
        return b"".join(names)

    async def read(self, journal: bytes) -> bytes:
        """See :class:`Scheme`."""
        names = [journal[at : at + _ID] for at in range(0, len(journal), _ID)]
        found = await all_at_once(self.store.get(name.hex()) for name in dict.fromkeys(names))
        chunks = dict(zip(dict.fromkeys(names), map(self._open, found), strict=True))
        return b"".join(chunks[name] for name in names)

    def _open(self, found: bytes) -> bytes:
        # JSON never starts like a Zstandard frame.
        return self._zstd.decode(found, 1 << 20) if found.startswith(b"\x28\xb5\x2f\xfd") else found


class Coatcheck(Scheme):
    """The chain as a scheme: compressed, deltas, encrypted.

    Args:
        store: The store of the objects.
        cache: Bytes of cached payloads.
    """

    def __init__(self, store: Counted, cache: int = CACHE) -> None:
        super().__init__(store)
        self.chain = Chain(
            Zstd(), Encrypt(Keyring(Key(bytes(32)))), Offload(store), cache=PayloadCache(cache)
        )

    async def write(self, payload: bytes) -> bytes:
        """See :class:`Scheme`."""
        return await self.chain.encode(payload, SCOPE)

    async def read(self, journal: bytes) -> bytes:
        """See :class:`Scheme`."""
        return await self.chain.decode(journal, SCOPE)

    async def close(self) -> None:
        """See :class:`Scheme`."""
        await self.chain.close()


SCHEMES: dict[str, Callable[[Counted], Scheme]] = {
    "whole": Whole,
    "whole-zstd": WholeZstd,
    "chunked": Chunked,
    "coatcheck": Coatcheck,
}
