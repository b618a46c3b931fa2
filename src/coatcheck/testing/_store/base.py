"""The base of all parts of the suite."""

import asyncio
from abc import ABC, abstractmethod
from typing import ClassVar

import pytest

from coatcheck.contracts.store import Store, StoredObject

AT_ONCE = 16


class StoreSuiteBase(ABC):
    """The fixture, the methods and the settings of a subclass."""

    pytestmark = pytest.mark.asyncio

    large: ClassVar[int] = 20 << 20
    """Bytes of the largest object written."""
    many: ClassVar[int] = 1_100
    """Objects in the listing tests; must be more than one page of the store's listing."""
    model_examples: ClassVar[int] = 30
    """Sequences of operations to compare with the model."""
    model_steps: ClassVar[int] = 20
    """Operations in each sequence."""
    nested_keys: ClassVar[bool] = True
    """True if one object's key may be the folder of another's: ``a`` and ``a/b``. coatcheck writes no such keys, and a
    store on a file system may refuse them."""

    @pytest.fixture
    def store(self) -> Store:
        """Return an empty store. Subclasses must override it."""
        raise NotImplementedError("a subclass of StoreSuite needs a `store` fixture")

    @abstractmethod
    async def raw_get(self, store: Store, key: str) -> bytes | None:
        """Return the object's bytes, read without ``store``; None if there is no object.

        Args:
            store: The store of the fixture.
            key: The object's key.
        """

    @abstractmethod
    async def raw_set(self, store: Store, key: str, data: bytes) -> None:
        """Write the object without ``store``, as another process with the same settings would.

        Args:
            store: The store of the fixture.
            key: The object's key.
            data: The object's bytes; they replace an existing object.
        """


async def listed(store: Store, prefix: str = "") -> list[StoredObject]:
    """Return everything that the store lists."""
    return [found async for found in store.list_objects(prefix)]


async def keys_of(store: Store, prefix: str = "") -> list[str]:
    """Return the keys that the store lists, sorted."""
    return sorted([found.key async for found in store.list_objects(prefix)])


async def create_all(store: Store, keys: list[str], data: bytes) -> None:
    """Create all ``keys``, a bounded number of them concurrently."""
    waiting = iter(keys)

    async def worker() -> None:
        for key in waiting:
            assert await store.create(key, data) is True

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
