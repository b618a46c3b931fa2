"""The conformance suite of stores: subclass :class:`StoreSuite` in a test module."""

import asyncio

from coatcheck.contracts.store import Store
from coatcheck.testing._store.concurrency import ConcurrencyTests
from coatcheck.testing._store.listing import ListingTests
from coatcheck.testing._store.loops import LoopTests
from coatcheck.testing._store.model import check_against_model
from coatcheck.testing._store.objects import ObjectTests


class StoreSuite(ObjectTests, ListingTests, ConcurrencyTests, LoopTests):
    """Tests of everything that :class:`coatcheck.contracts.store.Store` promises.

    A subclass named ``Test...`` needs a ``store`` fixture (plain or async) that gives each test its own empty store, and two
    methods that access the store's objects directly. The tests are coroutines: they run with pytest-asyncio in either
    mode.
    """

    async def test_model(self, store: Store) -> None:
        """Search, with Hypothesis, for a sequence of operations after which the store differs from a dictionary."""
        await asyncio.to_thread(
            check_against_model, store, self.model_examples, self.model_steps, nested=self.nested_keys
        )
