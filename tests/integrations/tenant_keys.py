"""Keys that a KMS wraps, and a KMS that goes away."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from coatcheck import Chain, Encrypt, GoogleKms, MemoryStore, Offload, PayloadCache, TenantKeys, Zstd
from tests.engines.google_kms import GoogleKmsServer, google_kms

AGE: Final = 1.0
"""Seconds that a key is held: no less can be set."""


@dataclass
class KeyWorld:
    """A KMS, the store of the keys and payloads, and what was done outside of the journal."""

    kms: GoogleKmsServer
    store: MemoryStore = field(default_factory=MemoryStore)
    done: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    """Requests that the KMS did not answer."""

    def __post_init__(self) -> None:
        self._name = self.kms.new_key()

    def keys(self, max_age: float = AGE) -> TenantKeys:
        """Return the keys as a new process has them: none loaded."""
        service = GoogleKms(self._name, endpoint_url=self.kms.endpoint)
        return TenantKeys(self.store, service, label="test", max_age=max_age, deadline=1.0)

    def chain(self, max_age: float = AGE) -> Chain:
        """One of a process of its own."""
        keys = self.keys(max_age)
        return Chain(Zstd(), Encrypt(keys), Offload(self.store, over=1024), cache=PayloadCache(0))

    def goes_down(self) -> None:
        """Have the KMS answer nobody from now on."""

        def refuse(_: str) -> web.Response:
            self.refused += 1
            return self.kms.error(503)

        self.kms.fault = refuse

    def comes_back(self) -> None:
        self.kms.fault = lambda _: None


@asynccontextmanager
async def key_worlds() -> AsyncIterator[KeyWorld]:
    async with google_kms() as kms:
        yield KeyWorld(kms)
