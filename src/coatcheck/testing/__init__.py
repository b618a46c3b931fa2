"""Conformance suites for your own stores and key services, for pytest.

Needs ``pip install 'coatcheck[testing]'`` (pytest, pytest-asyncio, hypothesis). In a test module:

.. code-block:: python

    import pytest
    from coatcheck.testing import StoreSuite

    class TestMyStore(StoreSuite):
        @pytest.fixture
        def store(self, tmp_path):
            return MyStore(tmp_path)

        async def raw_get(self, store, key):
            return store.path_of(key).read_bytes() if store.path_of(key).exists() else None

        async def raw_set(self, store, key, data):
            store.path_of(key).write_bytes(data)

pytest then collects the tests of the suite. :class:`KeyServiceSuite` does the same for key services, with a ``service``
fixture and the methods ``again`` and ``other_key``.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from coatcheck.errors import ConfigError

if TYPE_CHECKING:
    from coatcheck.testing.key_service_suite import KeyServiceSuite as KeyServiceSuite
    from coatcheck.testing.store_suite import StoreSuite as StoreSuite

_HOMES = {
    "KeyServiceSuite": "coatcheck.testing.key_service_suite",
    "StoreSuite": "coatcheck.testing.store_suite",
}

__all__ = ["KeyServiceSuite", "StoreSuite"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'coatcheck.testing' has no attribute {name!r}")
    try:
        import pytest  # noqa: PLC0415 - optional

        # Before the first import, so that a failed assertion shows its values, as in a test module.
        if _HOMES[name] not in sys.modules:
            pytest.register_assert_rewrite(_HOMES[name], "coatcheck.testing._store")
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed", "Run: pip install 'coatcheck[testing]'"
        ) from error
