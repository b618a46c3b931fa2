"""The chain that payloads go through to see what it would save."""

from coatcheck.chain import Chain
from coatcheck.codecs.aead import Encrypt
from coatcheck.contracts.keys import Key
from coatcheck.contracts.sealing import Sealing
from coatcheck.keys.keyring import Keyring
from coatcheck.offload import Offload
from coatcheck.settings.model import Settings
from coatcheck.settings.registry import make_codec
from coatcheck.storage.cache import PayloadCache
from coatcheck.stores.memory import MemoryStore

_CACHE_SIZE = 64 * 2**20
"""Bytes: room for the payloads that deltas build on."""


class TrialStore(MemoryStore):
    """A store in memory that knows what it has."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        """Bytes of all objects."""
        self.objects = 0

    async def create(self, key: str, data: bytes) -> bool:
        """See :meth:`Store.create`."""
        created = await super().create(key, data)
        if created:
            self.size += len(data)
            self.objects += 1
        return created


def chain_under_test() -> tuple[Chain, TrialStore, Settings]:
    """Return the chain of the settings with a store in memory and a random key, the store, and the settings.

    Raises:
        ConfigError: The settings are wrong.
    """
    settings = Settings.load()
    store = TrialStore()
    sealing: list[Sealing] = [Encrypt(Keyring(Key.generate()))] if settings.encrypt else []
    chain = Chain(
        *(make_codec(name, settings.codec.get(name)) for name in settings.codecs),
        *sealing,
        Offload(store, over=settings.offload.over, alias=settings.offload.alias),
        max_payload=settings.max_payload,
        cache=PayloadCache(_CACHE_SIZE),
    )
    return chain, store, settings
