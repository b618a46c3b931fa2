"""A conformance suite for your own stores, for pytest.

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

pytest then collects the tests of the suite.
"""

import sys
from typing import TYPE_CHECKING

from coatcheck.errors import ConfigError

if TYPE_CHECKING:
    from coatcheck.testing.store_suite import StoreSuite as StoreSuite

__all__ = ["StoreSuite"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'coatcheck.testing' has no attribute {name!r}")
    try:
        import pytest  # noqa: PLC0415 - optional

        # Before the first import, so that a failed assertion shows its values, as in a test module.
        if "coatcheck.testing.store_suite" not in sys.modules:
            pytest.register_assert_rewrite("coatcheck.testing.store_suite", "coatcheck.testing._store")
        from coatcheck.testing.store_suite import StoreSuite  # noqa: PLC0415 - loads pytest and hypothesis
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed", "Run: pip install 'coatcheck[testing]'"
        ) from error
    return StoreSuite
