"""A comparison of a store with a dictionary by Hypothesis: any sequence of operations must have the same result."""

import asyncio
import itertools

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from coatcheck.contracts.store import Store
from coatcheck.errors import PayloadNotFound

# Neighbours that a careless prefix match confuses.
_FLAT_KEYS = ["a-b", "a/b", "a/bc", "ab/c", "ab/cd", "b", "b=1/_.x"]
_NESTED_KEYS = ["a", "ab", "a/b/c"]
_KEYS = st.runner().flatmap(lambda machine: st.sampled_from(machine.keys))
_PREFIXES = st.sampled_from(["", "a", "ab", "a/", "a/b", "a/b/", "b", "b=1/", "c"])
_DATA = st.binary(max_size=300)


class _Model(RuleBasedStateMachine):
    def __init__(self, store: Store, runner: asyncio.Runner, folder: str, keys: list[str]) -> None:
        super().__init__()
        self._store = store
        self._runner = runner
        self._folder = folder
        self.keys = keys
        self._expected: dict[str, bytes] = {}

    @rule(key=_KEYS, data=_DATA)
    def create(self, key: str, data: bytes) -> None:
        created = self._runner.run(self._store.create(self._folder + key, data))
        assert created is (key not in self._expected), key
        self._expected.setdefault(key, data)

    @rule(key=_KEYS, data=_DATA)
    def replace(self, key: str, data: bytes) -> None:
        self._runner.run(self._store.replace(self._folder + key, data))
        self._expected[key] = data

    @rule(key=_KEYS)
    def delete(self, key: str) -> None:
        self._runner.run(self._store.delete(self._folder + key))
        self._expected.pop(key, None)

    @rule(key=_KEYS)
    def get(self, key: str) -> None:
        try:
            data: bytes | None = self._runner.run(self._store.get(self._folder + key))
        except PayloadNotFound:
            data = None
        assert data == self._expected.get(key), key

    @rule(prefix=_PREFIXES)
    def list_prefix(self, prefix: str) -> None:
        assert self._listed(prefix) == self._sizes(prefix)

    @rule()
    def close(self) -> None:
        self._runner.run(self._store.close())

    @invariant()
    def same_objects(self) -> None:
        assert self._listed("") == self._sizes("")

    def _listed(self, prefix: str) -> list[tuple[str, int]]:
        async def collect() -> list[tuple[str, int]]:
            listing = self._store.list_objects(self._folder + prefix)
            return [(found.key.removeprefix(self._folder), found.size) async for found in listing]

        return sorted(self._runner.run(collect()))

    def _sizes(self, prefix: str) -> list[tuple[str, int]]:
        return sorted((key, len(data)) for key, data in self._expected.items() if key.startswith(prefix))


def check_against_model(store: Store, examples: int, steps: int, *, nested: bool) -> None:
    """Run ``examples`` sequences of ``steps`` operations each, every sequence in its own folder.

    Args:
        store: The store to test.
        examples: Number of sequences.
        steps: Operations in each sequence.
        nested: Also use keys that are folders of other keys.
    """
    keys = _FLAT_KEYS + (_NESTED_KEYS if nested else [])
    folders = (f"model-{number}/" for number in itertools.count())
    with asyncio.Runner() as runner:

        class Fresh(_Model):
            def __init__(self) -> None:
                super().__init__(store, runner, next(folders), keys)

        run_state_machine_as_test(
            Fresh,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
        runner.run(store.close())
