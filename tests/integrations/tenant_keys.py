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
"""Seconds that a key is cached: no less can be set."""
PATIENCE: Final = 30.0
"""Seconds for a KMS that answers, on a machine that is busy."""
HASTE: Final = 1.0
"""Seconds for one that is away."""


@dataclass
class KeyWorld:
    """A KMS, the store of the keys and payloads, and what was done outside of the journal."""

    kms: GoogleKmsServer
    store: MemoryStore = field(default_factory=MemoryStore)
    done: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    """Requests that the KMS did not answer."""
    made: list[TenantKeys] = field(default_factory=list)
    deadline: float = PATIENCE

    def __post_init__(self) -> None:
        self._name = self.kms.new_key()

    def keys(self, max_age: float = AGE) -> TenantKeys:
        """Return the keys as a new process has them: none loaded."""
        service = GoogleKms(self._name, endpoint_url=self.kms.endpoint)
        keys = TenantKeys(self.store, service, label="test", max_age=max_age, deadline=self.deadline)
        self.made.append(keys)
        return keys

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
        self._give(HASTE)

    def comes_back(self) -> None:
        self.kms.fault = lambda _: None
        self._give(PATIENCE)

    def _give(self, seconds: float) -> None:
        self.deadline = seconds
        for keys in self.made:
            keys._deadline = seconds


@asynccontextmanager
async def key_worlds() -> AsyncIterator[KeyWorld]:
    async with google_kms() as kms:
        yield KeyWorld(kms)
