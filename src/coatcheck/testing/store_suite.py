"""The conformance suite of stores: subclass :class:`StoreSuite` in a test module."""

import asyncio

from coatcheck.contracts.store import Store
from coatcheck.testing._store.concurrency import ConcurrencyTests
from coatcheck.testing._store.listing import ListingTests
from coatcheck.testing._store.loops import LoopTests
from coatcheck.testing._store.model import check_against_model
from coatcheck.testing._store.objects import ObjectTests


class StoreSuite(ObjectTests, ListingTests, ConcurrencyTests, LoopTests):
    """Everything that :class:`coatcheck.contracts.store.Store` promises, as tests.

    A subclass named ``Test...`` brings a ``store`` fixture (plain or async) that gives an empty store of its own
    to each test, and two methods that reach the store's objects past the store. The tests are coroutines: they run
    with pytest-asyncio in either mode.
    """

    async def test_model(self, store: Store) -> None:
        """Hypothesis finds a sequence of operations after which the store differs from a dictionary."""
        await asyncio.to_thread(
            check_against_model, store, self.model_examples, self.model_steps, nested=self.nested_keys
        )
